// The page: facts on top, tabs, lists, and the address (#image=NAME, #pair=A|B) that opens them.

const pageErrors = [];
function trouble(text) {
  pageErrors.push(text);
  byId("trouble").hidden = false;
  byId("trouble").textContent = "This page has a fault: " + text;
}
window.addEventListener("error", (event) => trouble(event.message));
window.addEventListener("unhandledrejection", (event) => trouble(String(event.reason)));

// A name as the address spells it; addresses that others wrote may be spelled wrongly.
function plainName(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const Page = {
  image: null,
  pair: null,

  start() {
    const saved = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    document.documentElement.dataset.theme = saved;
    byId("theme").addEventListener("click", () => {
      const { dataset } = document.documentElement;
      dataset.theme = dataset.theme === "dark" ? "light" : "dark";
      if (Data.meta.model) this.model.setColors(byId("model-color").value);
      if (this.graph.opened) this.graph.choose(this.graph.kind);
      this.photo.legend();
      this.redraw();
    });
    this.facts();
    this.images = imageTable((i) => (this.panel === "photo" ? this.openImage(i) : this.pickImage(i)), (i) => this.openImage(i));
    this.pairs = pairTable((p) => (this.panel === "pair" ? this.openPair(p) : this.pickPair(p)), (p) => this.openPair(p));
    this.model = new ModelView({ onPick: (i) => this.pickImage(i), onOpen: (i) => this.openImage(i) });
    this.graph = new GraphPanel({ onImage: (i) => this.openImage(i), onPair: (p) => this.openPair(p) });
    this.photo = new PhotoPanel();
    this.pairPanel = new PairPanel();
    fillRunTab(byId("run-text"));
    this.modelChoice();
    this.refresh();
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#tabs button"))) {
      button.addEventListener("click", () => {
        this.open(button.dataset.panel);
        this.address(this.whereabouts());
      });
    }
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#lists button"))) {
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
    const facts = [["Images in the model", `${count(registered)} of ${count(images.length)}`, registered < images.length]];
    if (model) {
      facts.push(["Points", count(model.points)], ["Observations", count(model.observations)],
        ["Mean track", model.track_length.toFixed(2)], ["Mean error", model.reprojection_error.toFixed(2) + " px"]);
    }
    facts.push(["Verified pairs", `${count(pairs.num_verified)} of ${count(pairs.total)}`]);
    byId("facts").replaceChildren(...facts.map(([name, value, warn]) =>
      make("div", { className: warn ? "warn" : "" }, make("dt", { textContent: name }), make("dd", { textContent: value }))));
  },

  // Which of the run's models is shown.
  modelChoice() {
    const { models } = Data.meta;
    byId("model-which-label").hidden = models.length < 2;
    byId("model-which").append(...models.map((model, k) =>
      make("option", { value: k, textContent: `${model.number}: ${count(model.registered)} photos`, selected: k === Data.meta.index })));
    byId("model-which").addEventListener("change", (event) => {
      this.model.useModel(Number(event.target.value));
      this.facts();
      fillRunTab(byId("run-text"));
      this.model.pick(this.image);
      if (this.photo.image !== null) this.photo.show(this.photo.image);
      this.fill();
      this.redraw();
    });
  },

  // The page of a run that is still at work loads itself again.
  refresh() {
    const { refresh } = Data.meta;
    byId("working").hidden = !refresh;
    if (!refresh) return;
    const timer = setTimeout(() => location.reload(), 1000 * refresh);
    byId("working-stop").addEventListener("click", () => {
      clearTimeout(timer);
      byId("working").hidden = true;
    });
  },

  // Of one kind (panel, list) the button and what it opens, and no other.
  choose(buttons, kind, name) {
    const all = document.querySelectorAll(`#${buttons} button`);
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (all)) {
      button.setAttribute("aria-selected", String(button.dataset[kind] === name));
    }
    for (const element of document.querySelectorAll("." + kind)) {
      element.classList.toggle("open", element.id === `${kind}-${name}`);
    }
  },

  open(panel) {
    this.choose("tabs", "panel", panel);
    this.panel = panel;
    if (panel === "graph") this.graph.open();
    this.redraw();
  },

  list(name) {
    this.choose("lists", "list", name);
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
      chip.replaceChildren(make("span", { textContent: "Pairs of" }), make("b", {}, cutName(images[only].name)), all);
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
    this.open("photo"); // first: what is shown is fitted to a canvas that has its size
    this.photo.show(i);
    this.address(this.whereabouts());
  },

  pickPair(p) {
    this.pair = p;
    this.pairs.mark(p);
  },

  openPair(p) {
    this.pickPair(p);
    this.open("pair");
    this.pairPanel.show(p);
    this.address(this.whereabouts());
  },

  // The address that opens what is open now, also where the page loads itself again.
  whereabouts() {
    const { pairs, images } = Data.meta;
    const named = (rows) => rows.map((i) => encodeURIComponent(images[i].name)).join("|");
    if (this.panel === "photo" && this.photo.image !== null) return "#image=" + named([this.photo.image]);
    const { pair } = this.pairPanel;
    if (this.panel === "pair" && pair !== null) return "#pair=" + named([pairs.image0[pair], pairs.image1[pair]]);
    return "#" + this.panel;
  },

  address(hash) { history.replaceState(null, "", hash); },

  follow() {
    const [kind, value] = location.hash.slice(1).split("=");
    const names = (value || "").split("|").map(plainName);
    if (kind === "image" && Data.byName.has(names[0])) this.openImage(Data.byName.get(names[0]));
    else if (kind === "pair" && value) {
      const pair = Data.findPair(...names.map((name) => Data.byName.get(name)));
      if (pair !== undefined) this.openPair(pair);
    } else if (["model", "graph", "photo", "pair", "run"].includes(kind)) this.open(kind);
  },

  // Arrow keys go through the tabs where one has the focus, else through the list that belongs to the panel.
  key(event) {
    if (event.shiftKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const step = event.key === "ArrowRight" ? 1 : -1;
    if (event.target.matches("[role=tab]")) {
      const tab = event.target[step > 0 ? "nextElementSibling" : "previousElementSibling"];
      if (tab) tab.focus(), tab.click();
      return;
    }
    if (event.target.matches("input:not([type=checkbox]), select, textarea, #model-overlay")) return; // they have arrows of their own
    const table = this.panel === "pair" ? this.pairs : this.panel === "photo" ? this.images : null;
    const row = table && table.rows ? table.beside(step) : undefined;
    if (row !== undefined) table.open(row);
  },

  redraw() {
    this.model.redraw();
    for (const { zoom } of [this.graph, this.photo, this.pairPanel]) zoom.redraw();
  },
};

Page.start();
