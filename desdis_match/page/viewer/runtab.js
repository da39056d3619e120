// What happened: why photos are missing, the cameras, what is left out here, time, versions, configuration.

function fillRunTab(root) {
  const { report, notes, images, model, models } = Data.meta;
  const section = (title, ...nodes) => root.append(make("h2", { textContent: title }), ...nodes);
  const table = (rows, head) => {
    const line = (cells, tag) => make("tr", {}, ...cells.map((cell, k) => make(tag, { textContent: cell, className: k ? "" : "text" })));
    return make("div", { className: "wide" }, make("table", {}, ...(head ? [line(head, "th")] : []), ...rows.map((row) => line(row, "td"))));
  };
  root.replaceChildren();
  if (report.diagnosis) section(models.length ? "Photos left out" : "Why no model formed", make("div", { className: "diagnosis", textContent: report.diagnosis }));
  const out = images.filter((image) => !image.registered);
  if (out.length) section(`Not in the ${models.length ? "model" : "run's models"}: ${count(out.length)} of ${count(images.length)} photos`, ...missing(out, table));
  else if (images.length) section("Photos", make("p", { textContent: `All ${count(images.length)} photos are in the model.` }));
  if (report.found_out && report.found_out.length) section("Found out", make("ul", {}, ...report.found_out.map((note) => make("li", { textContent: note }))));
  if (report.attempts && report.attempts.length > 1) section("Ways of mapping that were tried", table(report.attempts, ["Way", "Photos", "Points", "Seconds"]));
  if (model) {
    section("Cameras", ...cameras(model, table));
  }
  if (models.length > 1) {
    section("Models", table(models.map((m) => [`Model ${m.number}`, count(m.registered), count(m.points), m.reprojection_error.toFixed(3)]),
      ["", "Photos", "Points", "Error, px"]));
  }
  if (notes.length) section("On this page", make("ul", {}, ...notes.map((note) => make("li", { textContent: note }))));
  if (report.stages && report.stages.length) {
    section("Stages", table(report.stages.map((s) => [s.name, s.seconds, s.memory]), ["Stage", "Seconds", "Peak MiB"]));
  }
  if (Object.keys(report.versions || {}).length) section("Versions", table(Object.entries(report.versions).map(([k, v]) => [k, String(v)])));
  if (Object.keys(report.config || {}).length) section("Configuration", make("pre", { textContent: JSON.stringify(report.config, null, 2) }));
  if (!Object.keys(report.config || {}).length) root.append(make("p", { className: "note", textContent: "How this model was made is not known: no report.json with its configuration is beside it." }));
}

const FEW_CAMERAS = 10; // that are listed at once

// The intrinsics of a model; many cameras under what they have in common.
function cameras(model, table) {
  const photos = new Map();
  for (const id of model.camera) photos.set(id, (photos.get(id) || 0) + 1);
  const one = (id) => Data.meta.images[model.images[model.camera.indexOf(id)]].name;
  const whole = table(model.cameras.map((camera) => [
    photos.get(camera.id) === 1 ? one(camera.id) : `${count(photos.get(camera.id))} photos`, camera.model,
    `${camera.width} × ${camera.height}`, camera.focal ? camera.focal.toFixed(1) : "–",
    camera.field ? camera.field.toFixed(1) + "°" : "–",
    Object.entries(camera.params).map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`).join(", "),
  ]), ["Of", "Model", "Size", "Focal length, px", "Field of view", "COLMAP's parameters"]);
  whole.classList.add("cameras");
  if (model.cameras.length <= FEW_CAMERAS) return [whole];
  const focals = model.cameras.map((camera) => camera.focal).filter(Number.isFinite);
  const kinds = [...new Set(model.cameras.map((camera) => camera.model))].join(", ");
  const text = `${count(model.cameras.length)} cameras, ${kinds}; focal lengths ${Math.min(...focals).toFixed(0)} to ` +
    `${Math.max(...focals).toFixed(0)} px, in the middle ${quantile(focals, 0.5).toFixed(0)} px.`;
  return [make("p", { textContent: text }), make("details", {}, make("summary", { textContent: "All of them" }), whole)];
}

const FEW_MISSING = 30; // that are listed one by one at once

// Photos that are not in the model, with what is known of each; many alike under one reason.
function missing(out, table) {
  const rows = out.map((image) => [image.name, whyOut(image), count(image.keypoints), count(image.verified)]);
  const whole = table(rows, ["Photo", "Why", "Keypoints", "Verified matches"]);
  whole.classList.add("reasons");
  if (out.length <= FEW_MISSING) return [whole];
  const kinds = new Map();
  for (const image of out) {
    const kind = whyOut(image).replace(/'[^']*'|[\d.,]+/g, "…");
    kinds.set(kind, [...(kinds.get(kind) || []), image.name]);
  }
  const summary = [...kinds].sort((a, b) => b[1].length - a[1].length)
    .map(([kind, names]) => [kind, count(names.length), names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "")]);
  return [table(summary, ["Why", "Photos", "Such as"]), make("details", {}, make("summary", { textContent: `All ${count(out.length)}, one by one` }), whole)];
}
