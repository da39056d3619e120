// Data that the page carries: JSON, typed arrays, photos. Decoded when first asked for.

const Data = (() => {
  const element = (name) => document.getElementById("data-" + name);

  function bytes(name) {
    const text = atob(element(name).textContent);
    const result = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) result[i] = text.charCodeAt(i);
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

  const meta = JSON.parse(element("meta").textContent);
  const byName = new Map(meta.images.map((image, i) => [image.name, i]));

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
      if (photos.size > 40) photos.delete(photos.keys().next().value);
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
  // Matches of pair p: x0, y0, x1, y1 in pixels, and states: 0 rejected, 1 verified, 2 in the model.
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
  for (let p = 0; p < pairs.image0.length; p++) {
    pairOf.set(pairs.image0[p] + " " + pairs.image1[p], p);
    pairOf.set(pairs.image1[p] + " " + pairs.image0[p], p);
  }
  const findPair = (a, b) => pairOf.get(a + " " + b);

  // Rows of the points that image i sees.
  function seen(i) {
    const starts = array("seen-starts", Uint32Array);
    return array("seen", Uint32Array).subarray(starts[i], starts[i + 1]);
  }

  return { meta, byName, array, photo, photoUrl, size, keypoints, matches, findPair, seen };
})();

const byId = (id) => document.getElementById(id);
const count = (n) => Number(n).toLocaleString("en");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// An element with properties and children; text is never taken for HTML.
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Perceptually even colours from dark blue over green to yellow (0 to 1), as [red, green, blue] of 255.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function ramp(t) {
  const x = Math.min(Math.max(t, 0), 1) * (RAMP.length - 1);
  const i = Math.min(Math.floor(x), RAMP.length - 2);
  return RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (x - i)));
}
const rampGradient = () => `linear-gradient(90deg, ${RAMP.map((c) => `rgb(${c})`).join(",")})`;
