/* The gallery's filters. Their state is the address's query, so that a choice can be linked, and taken back.
   No part of it may be called q: the theme's own search would open with it. */
"use strict";

function gallery(root) {
  const form = root.querySelector("form");
  const tiles = [...root.querySelectorAll(".zoo-tile")];
  const count = form.querySelector(".zoo-count");
  const { find, family, data } = form.elements;
  const can = [...form.querySelectorAll("[name=can]")];
  let typing = false;

  /* What is asked for, without what is not: the same text as in the address. */
  function asked() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value.trim()) query.append(name, value.trim());
    }
    return query;
  }

  function fits(tile, query) {
    const { family, data, can } = tile.dataset;
    const text = tile.textContent.toLowerCase();
    const words = (query.get("find") || "").toLowerCase().split(/\s+/);
    return (
      words.every((word) => text.includes(word)) &&
      (query.get("family") || family) === family &&
      (query.get("data") || data) === data &&
      query.getAll("can").every((wanted) => can.split(" ").includes(wanted))
    );
  }

  function show() {
    const query = asked();
    for (const tile of tiles) tile.hidden = !fits(tile, query);
    const shown = tiles.filter((tile) => !tile.hidden).length;
    const none = shown ? "" : ": none fits, clear a filter to see more";
    count.textContent = `${shown} of ${tiles.length} cards${none}`;
  }

  /* The address as it was opened or gone back to; what it asks for and is not offered is left out. */
  function read() {
    const query = new URLSearchParams(location.search);
    find.value = query.get("find") || "";
    for (const select of [family, data]) {
      select.value = query.get(select.name) || "";
      if (select.selectedIndex < 0) select.value = "";
    }
    for (const box of can) box.checked = query.getAll("can").includes(box.value);
    typing = false;
    show();
  }

  /* One entry in the history for a choice, and one for all that is typed in a row. */
  function write(event) {
    const query = String(asked());
    const typed = event.target === find;
    history[typed && typing ? "replaceState" : "pushState"](null, "", query ? `?${query}` : location.pathname);
    typing = typed;
    show();
  }

  form.addEventListener("input", write);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    if (location.search) history.pushState(null, "", location.pathname);
    read();
  });
  addEventListener("popstate", read);
  read();
}

document.querySelectorAll(".zoo-gallery").forEach(gallery);
