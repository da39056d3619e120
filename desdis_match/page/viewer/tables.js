// Tables that sort by a click on a column's head.

const MAX_ROWS = 500; // more rows than this make a browser slow; the filter finds the others

class Table {
  // columns: [{head, title, text, value(row), cell(row)}]; rows: numbers; sort: [column, descending]
  constructor(root, columns, { rows, sort, pick }) {
    Object.assign(this, { root, columns, all: rows, sort, pick, keep: () => true, picked: null });
    const head = make("tr");
    columns.forEach((column, c) => {
      const th = make("th", { textContent: column.head, title: column.title || "", tabIndex: 0 });
      if (column.text) th.className = "text";
      if (column.value) {
        const turn = () => {
          this.sort = [c, this.sort[0] === c ? !this.sort[1] : !column.text];
          this.fill();
        };
        th.addEventListener("click", turn);
        th.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
      }
      head.append(th);
    });
    root.querySelector("thead").append(head);
  }

  fill() {
    const [c, descending] = this.sort;
    const { value } = this.columns[c];
    const sign = descending ? -1 : 1;
    const rows = this.all.filter(this.keep);
    const keys = new Map(rows.map((row) => [row, value(row)]));
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || a - b;
    });
    this.rows = rows;
    this.root.querySelectorAll("th").forEach((th, k) => {
      if (k === c) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
    this.root.querySelector("tbody").replaceChildren(...rows.slice(0, MAX_ROWS).map((row) => {
      const tr = make("tr");
      tr.dataset.row = row;
      if (row === this.picked) tr.className = "picked";
      tr.append(...this.columns.map((column) => {
        const cell = column.cell(row);
        const td = make("td", { className: column.className || (column.text ? "text" : "") });
        td.append(...(Array.isArray(cell) ? cell : [cell]));
        if (column.text) td.title = td.textContent;
        return td;
      }));
      tr.addEventListener("click", () => this.pick(row));
      return tr;
    }));
    return rows.length > MAX_ROWS ? `${count(MAX_ROWS)} of ${count(rows.length)} rows; the filter finds the others` : "";
  }

  mark(row) {
    this.picked = row;
    for (const tr of this.root.querySelectorAll("tbody tr")) {
      const mine = Number(tr.dataset.row) === row;
      tr.classList.toggle("picked", mine);
      if (mine) tr.scrollIntoView({ block: "nearest" });
    }
  }

  // The row `step` after the picked one, or undefined.
  beside(step) { return this.rows[this.rows.indexOf(this.picked) + step]; }
}

function imageTable(pick) {
  const { images } = Data.meta;
  const number = (key) => ({ value: (i) => images[i][key], cell: (i) => count(images[i][key]) });
  const photos = images.some((_, i) => Data.photoUrl(i));
  const columns = [
    { head: "Image", text: true, value: (i) => images[i].name, cell: (i) => [images[i].name, ...(images[i].reason ? [make("small", { textContent: images[i].reason })] : [])] },
    { head: "Keypoints", ...number("keypoints") },
    { head: "Points", title: "Keypoints with a point of the model", ...number("points") },
    { head: "Pairs", title: "Images with verified matches", ...number("pairs") },
    { head: "In", title: "In the model", value: (i) => Number(images[i].registered), cell: (i) => make("span", { textContent: images[i].registered ? "✓" : "✗", className: images[i].registered ? "yes" : "no" }) },
  ];
  if (photos) columns.unshift({ head: "", className: "photo", cell: (i) => make("img", { src: Data.photoUrl(i) || "data:,", alt: "", loading: "lazy", decoding: "async" }) });
  return new Table(byId("list-images"), columns, { rows: images.map((_, i) => i), sort: [photos ? 1 : 0, false], pick });
}

function pairTable(pick) {
  const { pairs, images } = Data.meta;
  const share = (p) => (pairs.verified[p] < 0 ? 0 : pairs.verified[p] / pairs.matches[p]);
  // Both names, or the other one where the table is of one image's pairs.
  const partners = (p) => [pairs.image0[p], pairs.image1[p]].filter((i) => i !== Page.only).map((i) => images[i].name);
  const columns = [
    { head: "Images", text: true, value: (p) => partners(p).join(" "), cell: (p) => partners(p).flatMap((n, k) => (k ? [make("br"), n] : [n])) },
    { head: "Matches", value: (p) => pairs.matches[p], cell: (p) => count(pairs.matches[p]) },
    { head: "Verified", value: (p) => pairs.verified[p], cell: (p) => (pairs.verified[p] < 0 ? "–" : count(pairs.verified[p])) },
    { head: "Share", title: "Verified of all matches", value: share, cell: (p) => {
      const bar = make("span", { className: "bar", title: Math.round(100 * share(p)) + " %" }, make("i"));
      bar.firstChild.style.width = 100 * share(p) + "%";
      return bar;
    } },
  ];
  return new Table(byId("list-pairs"), columns, { rows: pairs.image0.map((_, p) => p), sort: [2, true], pick });
}
