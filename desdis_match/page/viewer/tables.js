// Tables that sort by a click on a column's head; only the rows in sight are in the document.

const ROW_HEIGHT = 44; // CSS pixels, as page.css has it
const SPARE_ROWS = 12; // beyond the edges of what is seen

class Table {
  // columns: [{head, title, text, value(row), cell(row)}]; rows: numbers; sort: [column, descending];
  // select(row): a click or an arrow key; open(row): a double click or Enter; none: what an empty table says.
  constructor(root, columns, { rows, sort, select, open, none }) {
    /** @type {HTMLElement} */
    this.root = root;
    /** @type {Column[]} */
    this.columns = columns;
    this.all = rows;
    this.sort = sort;
    this.select = select;
    this.open = open;
    this.none = none;
    this.keep = (row) => true;
    this.picked = null;
    this.rows = [];
    const head = make("tr");
    columns.forEach((column, c) => {
      const th = make("th", { textContent: column.head, title: column.title || "", scope: "col" });
      th.className = column.className || (column.text ? "text" : "");
      if (column.value) {
        th.tabIndex = 0;
        const turn = () => {
          this.sort = [c, this.sort[0] === c ? !this.sort[1] : !column.text];
          this.fill();
        };
        th.addEventListener("click", turn);
        th.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.stopPropagation(); turn(); } });
      }
      head.append(th);
    });
    root.querySelector("thead").append(head);
    this.body = root.querySelector("tbody");
    root.addEventListener("scroll", () => this.show());
    new ResizeObserver(() => this.show()).observe(root);
    root.addEventListener("keydown", (event) => this.key(event));
  }

  fill() {
    const [c, descending] = this.sort;
    const { value } = this.columns[c];
    const sign = descending ? -1 : 1;
    const order = new Intl.Collator("en", { numeric: true });
    const rows = this.all.filter(this.keep);
    const keys = new Map(rows.map((row) => [row, value(row)]));
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return sign * (typeof x === "string" ? order.compare(x, y) : x - y) || a - b;
    });
    this.rows = rows;
    this.root.querySelectorAll("th").forEach((th, k) => {
      if (k === c) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
    this.shown = null;
    this.show();
    return rows.length < this.all.length ? `${count(rows.length)} of ${rowsOf(this.all.length)}` : rowsOf(rows.length);
  }

  // Put the rows that are in sight into the document.
  show() {
    const first = Math.max(Math.floor(this.root.scrollTop / ROW_HEIGHT) - SPARE_ROWS, 0);
    const last = Math.min(first + Math.ceil(this.root.clientHeight / ROW_HEIGHT) + 2 * SPARE_ROWS, this.rows.length);
    if (this.shown && this.shown[0] === first && this.shown[1] === last) return;
    this.shown = [first, last];
    const gap = (rows) => {
      const td = make("td", { colSpan: this.columns.length });
      td.style.height = rows * ROW_HEIGHT + "px";
      return make("tr", { className: "gap", ariaHidden: "true" }, td);
    };
    const rows = this.rows.slice(first, last).map((row) => this.element(row));
    if (!this.rows.length) rows.push(make("tr", { className: "gap" }, make("td", { className: "text none", colSpan: this.columns.length, textContent: this.none() })));
    if (first) rows.unshift(gap(first));
    if (last < this.rows.length) rows.push(gap(this.rows.length - last));
    this.body.replaceChildren(...rows);
  }

  element(row) {
    const tr = make("tr", { className: row === this.picked ? "picked" : "", ariaSelected: row === this.picked });
    tr.dataset.row = row;
    tr.append(...this.columns.map((column) => {
      const cell = column.cell(row);
      const td = make("td", { className: column.className || (column.text ? "text" : "") });
      td.append(...(Array.isArray(cell) ? cell : [cell]));
      return td;
    }));
    tr.addEventListener("click", () => this.select(row));
    tr.addEventListener("dblclick", () => this.open(row));
    return tr;
  }

  mark(row) {
    this.picked = row;
    // The rows themselves stay: the second click of two must meet the element of the first.
    for (const tr of this.body.querySelectorAll("[data-row]")) {
      const mine = Number(tr.dataset.row) === row;
      tr.classList.toggle("picked", mine);
      tr.ariaSelected = mine;
    }
    const at = this.rows.indexOf(row);
    if (at >= 0) {
      const head = this.root.querySelector("thead").offsetHeight;
      const [top, bottom] = [at * ROW_HEIGHT, (at + 1) * ROW_HEIGHT + head];
      if (top < this.root.scrollTop) this.root.scrollTop = top;
      else if (bottom > this.root.scrollTop + this.root.clientHeight) this.root.scrollTop = bottom - this.root.clientHeight;
    }
    this.show();
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const row = this.picked === null || !this.rows.includes(this.picked) ? this.rows[0] : this.beside(step);
      if (row !== undefined) this.select(row);
    } else if (event.key === "Enter" && this.picked !== null) this.open(this.picked);
    else return;
    event.preventDefault();
  }

  // The row `step` after the picked one, or undefined.
  beside(step) { return this.rows[this.rows.indexOf(this.picked) + step]; }
}

function imageTable(select, open) {
  const { images } = Data.meta;
  const number = (key) => ({ value: (i) => images[i][key], cell: (i) => count(images[i][key]) });
  const photos = images.some((image) => image.photo);
  const inside = (i) => (images[i].registered ? 1 : 0);
  /** @type {Column[]} */
  const columns = [
    { head: "Image", text: true, value: (i) => images[i].name, cell: (i) => {
      const why = whyOut(images[i]);
      return [cutName(images[i].name), ...(why ? [make("small", { textContent: why, title: why })] : [])];
    } },
    { head: "Keypoints", className: "spare", ...number("keypoints") },
    { head: "Points", title: `Keypoints with a point of ${Data.meta.models.length > 1 ? "the first model that has the image" : "the model"}`, ...number("points") },
    { head: "Pairs", title: "Images with verified matches", ...number("pairs") },
    { head: "In", title: "In the model", value: inside, cell: (i) => make("span", { textContent: inside(i) ? "✓" : "✗", className: inside(i) ? "yes" : "no", ariaLabel: inside(i) ? "yes" : "no" }) },
  ];
  if (photos) columns.unshift({ head: "", className: "photo", cell: (i) => (images[i].photo ? make("img", { src: Data.photoUrl(i), alt: "", decoding: "async" }) : "") });
  return new Table(byId("list-images"), columns, {
    rows: images.map((_, i) => i), sort: [photos ? 1 : 0, false], select, open,
    none: () => (images.length ? `No image has “${byId("filter").value}” in its name.` : "There are no images."),
  });
}

function pairTable(select, open) {
  const { pairs, images } = Data.meta;
  const share = (p) => (pairs.verified[p] < 0 ? 0 : pairs.verified[p] / pairs.matches[p]);
  // Both names, or the other one where the table is of one image's pairs.
  const partners = (p) => [pairs.image0[p], pairs.image1[p]].filter((i) => i !== Page.only).map((i) => images[i].name);
  const columns = [
    { head: "Images", text: true, value: (p) => partners(p).join(" "), cell: (p) => partners(p).map(cutName) },
    { head: "Matches", value: (p) => pairs.matches[p], cell: (p) => count(pairs.matches[p]) },
    { head: "Verified", value: (p) => pairs.verified[p], cell: (p) => (pairs.verified[p] < 0 ? "–" : count(pairs.verified[p])) },
    { head: "Share", title: "Verified of all matches", value: share, cell: (p) => {
      const bar = make("span", { className: "bar", title: Math.round(100 * share(p)) + " %" }, make("i"));
      bar.firstChild.style.width = 100 * share(p) + "%";
      return bar;
    } },
  ];
  return new Table(byId("list-pairs"), columns, {
    rows: pairs.image0.map((_, p) => p), sort: [2, true], select, open,
    none: () => (byId("filter").value ? `No pair has “${byId("filter").value}” in a name.` : Page.only === undefined ? "There are no pairs." : "This image has no pairs."),
  });
}
