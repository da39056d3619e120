// Data that the page carries: JSON, typed arrays, photos. Decoded when first asked for.

const Data = (() => {
  const element = (name) => document.getElementById("data-" + name);

  function bytes(name) {
    const text = element(name).textContent;
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const characters = atob(text);
    const result = new Uint8Array(characters.length);
    for (let i = 0; i < characters.length; i++) result[i] = characters.charCodeAt(i);
    return result;
  }

  const arrays = new Map();
  function array(name, Type) {
    if (!arrays.has(name)) {
      arrays.set(name, new Type(bytes(name).buffer));
      element(name).remove();
    }
    return arrays.get(name);
  }

  /** @type {Meta} */
  const meta = JSON.parse(element("meta").textContent);
  const byName = new Map(meta.images.map((image, i) => [image.name, i]));

  // Poses of model k go into the images; without a model no image has one.
  function useModel(k) {
    for (const image of meta.images) Object.assign(image, { registered: false, center: null, camera: null, row: -1 });
    meta.index = k;
    meta.model = meta.models[k] || null;
    if (!meta.model) return;
    const cameras = new Map(meta.model.cameras.map((camera) => [camera.id, camera]));
    meta.model.images.forEach((i, row) => Object.assign(meta.images[i], {
      registered: true, row,
      center: meta.model.centers[row], rotation: meta.model.rotations[row], half: meta.model.halves[row],
      camera: cameras.get(meta.model.camera[row]),
    }));
  }
  useModel(meta.first);

  const photoUrl = (i) => {
    const found = element("photo-" + i);
    return found ? "data:image/jpeg;base64," + found.textContent : null;
  };
  const photos = new Map();
  // A promise of the decoded photo of image i, or of null where there is none.
  function photo(i) {
    if (!photos.has(i)) {
      const url = photoUrl(i);
      if (!url) return Promise.resolve(null);
      const img = new Image();
      img.src = url;
      photos.set(i, img.decode().then(() => img));
      if (photos.size > 100) photos.delete(photos.keys().next().value);
    }
    return photos.get(i);
  }

  const size = (i) => {
    const image = meta.images[i];
    return image.width > 0 ? [image.width, image.height] : image.photo || [4, 3];
  };

  // Keypoints of image i: positions in pixels with (0, 0) the photo's corner, and track lengths (0: no point).
  function keypoints(i) {
    const starts = array("keypoint-starts", Uint32Array);
    if (i + 1 >= starts.length) return { xy: new Float32Array(0), lengths: new Uint8Array(0) };
    const stored = array("keypoints", Uint16Array).subarray(2 * starts[i], 2 * starts[i + 1]);
    const [width, height] = size(i);
    const xy = new Float32Array(stored.length);
    for (let k = 0; k < stored.length; k += 2) {
      xy[k] = (stored[k] / 65535) * width;
      xy[k + 1] = (stored[k + 1] / 65535) * height;
    }
    return { xy, lengths: array("keypoint-lengths", Uint8Array).subarray(starts[i], starts[i + 1]) };
  }

  const pairs = meta.pairs;
  let matchStarts = null;
  // Matches of pair p: x0, y0, x1, y1 in pixels, and states: 0 rejected, 1 verified, 2 in a model.
  function matches(p) {
    if (!matchStarts) {
      matchStarts = [0];
      for (const count of pairs.shown) matchStarts.push(matchStarts[matchStarts.length - 1] + count);
    }
    const stored = array("matches", Uint16Array).subarray(4 * matchStarts[p], 4 * matchStarts[p + 1]);
    const sides = [...size(pairs.image0[p]), ...size(pairs.image1[p])];
    const ends = new Float32Array(stored.length);
    for (let k = 0; k < stored.length; k++) ends[k] = (stored[k] / 65535) * sides[k % 4];
    return { ends, states: array("match-states", Uint8Array).subarray(matchStarts[p], matchStarts[p + 1]) };
  }

  const pairOf = new Map();
  const key = (a, b) => Math.min(a, b) * meta.images.length + Math.max(a, b);
  for (let p = 0; p < pairs.image0.length; p++) pairOf.set(key(pairs.image0[p], pairs.image1[p]), p);
  const findPair = (a, b) => pairOf.get(key(a, b));

  // Arrays of the model in use; errors in steps of model.error_step pixels.
  const cloud = () => ({
    positions: array("points-" + meta.index, Float32Array),
    photoColors: array("point-colors-" + meta.index, Uint8Array),
    errors: array("point-errors-" + meta.index, Uint8Array),
    lengths: array("point-lengths-" + meta.index, Uint8Array),
  });

  // Rows of the points of the model in use that image i sees.
  function seen(i) {
    const { row } = meta.images[i];
    const starts = array("seen-starts-" + meta.index, Uint32Array);
    const all = array("seen-" + meta.index, Uint32Array);
    return row < 0 ? all.subarray(0, 0) : all.subarray(starts[row], starts[row + 1]);
  }

  return { meta, byName, array, photo, photoUrl, size, keypoints, matches, findPair, cloud, seen, useModel };
})();

/** @type {(id: string) => any} An element of page.html; its kind stands there. */
const byId = (id) => document.getElementById(id);
const english = new Intl.NumberFormat("en");
const count = (n) => english.format(n);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const isDark = () => document.documentElement.dataset.theme === "dark";

// An element with properties and children; text is never taken for HTML.
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// The characters of a name; those that would turn or hide the text beside them stand as one that is seen.
const characters = (name) => Array.from(name.replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "\ufffd"));

// A name that is cut in its middle where room is short; the whole one is its title. Read from the right where
// its script is.
function cutName(name) {
  const all = characters(name);
  const start = all.length - Math.min(12, Math.floor(all.length / 2));
  return make("span", { className: "cut", title: name, dir: "auto" },
    make("span", { textContent: all.slice(0, start).join("") }), make("span", { textContent: all.slice(start).join("") }));
}

const rowsOf = (n) => `${count(n)} ${n === 1 ? "row" : "rows"}`;

// What is said of an image beside its name: why it is not in the model that is shown.
function whyOut(image) {
  if (image.registered) return "";
  if (image.model >= 0 && image.model !== Data.meta.index) return `in model ${Data.meta.models[image.model].number}`;
  return image.reason || (Data.meta.models.length ? "not in the model" : "");
}

// Perceptually rising colours (0 to 1) as [red, green, blue] of 255, each readable on its theme's ground.
const RAMPS = {
  light: [[72, 20, 110], [50, 86, 158], [20, 130, 128], [66, 142, 48], [172, 118, 0]],
  dark: [[92, 118, 222], [48, 160, 206], [60, 192, 140], [165, 218, 70], [253, 231, 60]],
};
function ramp(t, stops = RAMPS[isDark() ? "dark" : "light"]) {
  const x = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(x), stops.length - 2);
  return stops[i].map((v, k) => Math.round(v + (stops[i + 1][k] - v) * (x - i)));
}
const rampGradient = () => `linear-gradient(90deg, ${RAMPS[isDark() ? "dark" : "light"].map((c) => `rgb(${c})`).join(",")})`;

// A legend: the colours between what stands at their ends, and what they count.
function fillLegend(node, low, high) {
  node.replaceChildren(low, make("i", { style: `background:${rampGradient()}` }), high);
}
