// The page: facts on top, tabs, lists, and the address (#image=NAME, #pair=A|B) that opens them.

const pageErrors = [];
function trouble(text) {
  pageErrors.push(text);
  byId("trouble").hidden = false;
  byId("trouble").textContent = "This page has a fault: " + text;
}
window.addEventListener("error", (event) => trouble(event.message));
window.addEventListener("unhandledrejection", (event) => trouble(String(event.reason)));

const Page = {
  image: null,
  pair: null,

  start() {
    const saved = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    document.documentElement.dataset.theme = saved;
    byId("theme").addEventListener("click", () => {
      const { dataset } = document.documentElement;
      dataset.theme = dataset.theme === "dark" ? "light" : "dark";
      this.redraw();
    });
    this.facts();
    this.images = imageTable((i) => this.openImage(i));
    this.pairs = pairTable((p) => this.openPair(p));
    this.model = new ModelView({ onPick: (i) => this.pickImage(i), onOpen: (i) => this.openImage(i) });
    this.graph = new GraphPanel({ onImage: (i) => this.openImage(i), onPair: (p) => this.openPair(p) });
    this.photo = new PhotoPanel();
    this.pairPanel = new PairPanel();
    this.runText();
    for (const button of document.querySelectorAll("#tabs button")) {
      button.addEventListener("click", () => this.open(button.dataset.panel));
    }
    for (const button of document.querySelectorAll("#lists button")) {
      button.addEventListener("click", () => this.list(button.dataset.list));
    }
    byId("filter").addEventListener("input", () => this.fill());
    byId("photo-look").addEventListener("click", () => {
      this.model.lookFrom(this.photo.image);
      this.open("model");
    });
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.follow());
    this.list("images");
    this.open(Data.meta.model ? "model" : "graph");
    this.follow();
    document.documentElement.dataset.ready = "yes";
  },

  facts() {
    const { model, images, pairs } = Data.meta;
    const registered = images.filter((image) => image.registered).length;
    const facts = [["Images in the model", `${registered} of ${images.length}`, registered < images.length]];
    if (model) {
      facts.push(["Points", count(model.points)], ["Observations", count(model.observations)],
        ["Mean track", model.track_length.toFixed(2)], ["Mean error", model.reprojection_error.toFixed(2) + " px"]);
    }
    facts.push(["Verified pairs", `${count(pairs.num_verified)} of ${count(pairs.total)}`]);
    byId("facts").append(...facts.map(([name, value, warn]) =>
      make("div", { className: warn ? "warn" : "" }, make("dt", { textContent: name }), make("dd", { textContent: value }))));
  },

  open(panel) {
    for (const button of document.querySelectorAll("#tabs button")) {
      button.setAttribute("aria-selected", button.dataset.panel === panel);
    }
    for (const element of document.querySelectorAll(".panel")) {
      element.classList.toggle("open", element.id === "panel-" + panel);
    }
    this.panel = panel;
    if (panel === "graph") this.graph.open();
    this.redraw();
  },

  list(name) {
    for (const button of document.querySelectorAll("#lists button")) {
      button.setAttribute("aria-selected", button.dataset.list === name);
    }
    for (const element of document.querySelectorAll(".list")) {
      element.classList.toggle("open", element.id === "list-" + name);
    }
    this.listed = name;
    this.fill();
  },

  fill() {
    const { images, pairs } = Data.meta;
    const wanted = byId("filter").value.trim().toLowerCase();
    const named = (i) => images[i].name.toLowerCase().includes(wanted);
    this.images.keep = named;
    const only = this.only;
    this.pairs.keep = (p) => {
      const [a, b] = [pairs.image0[p], pairs.image1[p]];
      return (only === undefined || a === only || b === only) && (named(a) || named(b));
    };
    byId("list-note").textContent = this[this.listed].fill();
    const chip = byId("pairs-of");
    chip.hidden = this.listed !== "pairs" || only === undefined;
    if (!chip.hidden) {
      const all = make("button", { textContent: "All pairs" });
      all.addEventListener("click", () => { this.only = undefined; this.fill(); });
      chip.replaceChildren("Pairs of", make("b", { textContent: images[only].name }), all);
    }
  },

  // Mark an image everywhere without leaving the panel.
  pickImage(i) {
    this.image = i;
    this.only = i === null ? undefined : i;
    this.graph.picked = i;
    this.model.pick(i);
    this.images.mark(i);
    if (this.listed === "pairs") this.fill();
  },

  openImage(i) {
    this.pickImage(i);
    this.photo.show(i);
    this.open("photo");
    this.address("#image=" + encodeURIComponent(Data.meta.images[i].name));
  },

  openPair(p) {
    const { pairs, images } = Data.meta;
    this.pair = p;
    this.pairs.mark(p);
    this.pairPanel.show(p);
    this.open("pair");
    const names = [pairs.image0[p], pairs.image1[p]].map((i) => encodeURIComponent(images[i].name));
    this.address("#pair=" + names.join("|"));
  },

  address(hash) { history.replaceState(null, "", hash); },

  follow() {
    const [kind, value] = location.hash.slice(1).split("=");
    const names = (value || "").split("|").map(decodeURIComponent);
    if (kind === "image" && Data.byName.has(names[0])) this.openImage(Data.byName.get(names[0]));
    else if (kind === "pair") {
      const pair = Data.findPair(...names.map((name) => Data.byName.get(name)));
      if (pair !== undefined) this.openPair(pair);
    } else if (["model", "graph", "run"].includes(kind)) this.open(kind);
  },

  // Arrow keys go through the list that belongs to the panel.
  key(event) {
    if (event.target.matches("input, select, textarea") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const step = event.key === "ArrowRight" ? 1 : -1;
    const table = this.panel === "pair" ? this.pairs : this.panel === "photo" ? this.images : null;
    const row = table && table.rows ? table.beside(step) : undefined;
    if (row !== undefined) table.pick(row);
  },

  redraw() {
    this.model.redraw();
    for (const { zoom } of [this.graph, this.photo, this.pairPanel]) zoom.redraw();
  },

  runText() {
    const { report, notes, images } = Data.meta;
    const root = byId("run-text");
    const section = (title, ...children) => root.append(make("h2", { textContent: title }), ...children);
    const table = (rows, head) => {
      const line = (cells, tag) => make("tr", {}, ...cells.map((cell, k) => make(tag, { textContent: cell, className: k ? "" : "text" })));
      return make("table", {}, ...(head ? [line(head, "th")] : []), ...rows.map((row) => line(row, "td")));
    };
    if (report.diagnosis) section(Data.meta.model ? "Photos left out" : "Why no model formed", make("div", { className: "diagnosis", textContent: report.diagnosis }));
    if (notes.length) section("On this page", make("ul", {}, ...notes.map((note) => make("li", { textContent: note }))));
    const out = images.filter((image) => !image.registered);
    if (out.length) section("Not in the model", table(out.map((image) => [image.name, image.reason || "no reason recorded"])));
    if (report.found_out && report.found_out.length) section("Found out", make("ul", {}, ...report.found_out.map((note) => make("li", { textContent: note }))));
    if (report.attempts && report.attempts.length > 1) section("Ways of mapping that were tried", table(report.attempts, ["Way", "Photos", "Points", "Seconds"]));
    if (report.cameras && report.cameras.length) section("Cameras as found", table(report.cameras, ["Camera", "Parameters", "Photos"]));
    if (report.stages && report.stages.length) {
      section("Stages", table(report.stages.map((s) => [s.name, s.seconds, s.memory]), ["Stage", "Seconds", "Peak MiB"]));
    }
    if (report.versions) section("Versions", table(Object.entries(report.versions).map(([k, v]) => [k, String(v)])));
    if (report.config) section("Configuration", make("pre", { textContent: JSON.stringify(report.config, null, 2) }));
    if (!root.children.length) root.append("There is no report.json beside this model.");
  },
};

Page.start();
