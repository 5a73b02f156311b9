"use strict";
// Theme, choices between prepared tables and pictures, sorting of prepared tables. The browser of errors is browser.js.

const find = (selector, inside = document) => inside.querySelector(selector);
const findAll = (selector, inside = document) => [...inside.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Theme: the system's, until the reader chooses.

function setUpTheme() {
  const button = find("#theme");
  const names = ["auto", "light", "dark"];
  const kept = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                 set: (name) => { try { localStorage.setItem("theme", name); } catch { /* not allowed from disk */ } } };
  const apply = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    button.dataset.name = name;
  };
  apply(names.includes(kept.get()) ? kept.get() : "auto");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(button.dataset.name) + 1) % names.length];
    apply(next);
    kept.set(next);
  });
}

// Choices: selects that share data-choose show the one element whose data-is is their values, joined by "|".

function setUpChoices() {
  const groups = new Set(findAll("select[data-choose]").map((select) => select.dataset.choose));
  for (const group of groups) {
    const selects = findAll(`select[data-choose="${group}"]`);
    const show = () => {
      const chosen = selects.map((select) => select.value).join("|");
      for (const element of findAll(`[data-of="${group}"]`)) element.hidden = element.dataset.is !== chosen;
    };
    for (const select of selects) select.addEventListener("change", show);
    show();
  }
}

// Sorting: a column header is a button; the first press sorts numbers from the largest, words from A.

function nextOrder(header, isNumber) {
  const now = header.getAttribute("aria-sort");
  if (now === "ascending") return "descending";
  if (now === "descending") return "ascending";
  return isNumber ? "descending" : "ascending";
}

function compareValues(a, b, isNumber) {
  if (!isNumber) return String(a).localeCompare(String(b), undefined, { numeric: true });
  const [x, y] = [a === "" || a === null ? NaN : Number(a), b === "" || b === null ? NaN : Number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return x - y;
}

function sortBy(items, value, isNumber, order) {
  const sign = order === "descending" ? -1 : 1;
  const isMissing = (item) => isNumber && (value(item) === "" || value(item) === null || Number.isNaN(Number(value(item))));
  return [...items].sort((a, b) => isMissing(a) - isMissing(b) || sign * compareValues(value(a), value(b), isNumber));
}

function setUpSorting() {
  for (const table of findAll("table.sortable")) {
    const headers = findAll("thead th", table);
    for (const header of headers.filter((each) => find("button.sort", each))) {
      find("button.sort", header).addEventListener("click", () => {
        const column = Number(header.dataset.column);
        const isNumber = header.classList.contains("n");
        const order = nextOrder(header, isNumber);
        for (const other of headers) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", order);
        const body = table.tBodies[0];
        body.append(...sortBy(body.rows, (row) => row.cells[column].dataset.value ?? "", isNumber, order));
      });
    }
  }
}

// A table that goes on to the right fades there, and says so, until the reader is at its end.

function setUpScrolling() {
  for (const box of findAll(".box")) {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "more columns: scroll →";
    box.before(hint);
    const show = () => {
      const isMore = box.scrollWidth - box.clientWidth - box.scrollLeft > 4;
      box.classList.toggle("more", isMore);
      hint.hidden = !isMore;
    };
    box.addEventListener("scroll", show, { passive: true });
    new ResizeObserver(show).observe(box);
    if (box.firstElementChild) new ResizeObserver(show).observe(box.firstElementChild);
  }
}

// A link to a configuration opens it.

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}

setUpTheme();
setUpChoices();
setUpSorting();
setUpScrolling();
window.addEventListener("hashchange", openTarget);
openTarget();
