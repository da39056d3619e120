// Where the nodes of the view graph lie, and which of its edges are always shown.

// Fruchterman and Reingold's springs; pairs with many matches pull more. Returns n places in 1000 x 700.
// start: n places (any scale); edges: [a, b, pull (0 to 1)]. Nodes of large graphs push only some others, chosen
// by a fixed sequence, so that the time grows with the nodes and not with their square.
function springs(start, edges) {
  const n = start.length;
  const [x, y] = [0, 1].map((k) => Float64Array.from(start, (place) => place[k]));
  const rest = 1 / Math.sqrt(Math.max(n, 1));
  const all = n <= 400;
  const others = all ? n : 40;
  const rounds = all ? 250 : 50;
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % n; // Numerical Recipes' generator
  for (let round = 0; round < rounds; round++) {
    const dx = new Float64Array(n), dy = new Float64Array(n);
    for (let a = 0; a < n; a++) {
      for (let k = 0; k < others; k++) {
        const b = all ? k : random();
        if (a === b) continue;
        const ux = x[a] - x[b], uy = y[a] - y[b];
        const push = ((rest * rest) / Math.max(ux * ux + uy * uy, 1e-6)) * (n / others);
        dx[a] += ux * push; dy[a] += uy * push;
      }
    }
    for (const [a, b, pull] of edges) {
      const ux = x[a] - x[b], uy = y[a] - y[b];
      const force = (Math.hypot(ux, uy) / rest) * Math.sqrt(pull) * 1.5;
      dx[a] -= ux * force; dy[a] -= uy * force;
      dx[b] += ux * force; dy[b] += uy * force;
    }
    const most = 0.08 * (1 - round / rounds) + 0.001;
    for (let a = 0; a < n; a++) {
      dx[a] -= x[a] * 0.3; dy[a] -= y[a] * 0.3; // gravity keeps what is not connected in sight
      const length = Math.hypot(dx[a], dy[a]) || 1;
      x[a] += (dx[a] / length) * Math.min(length, most);
      y[a] += (dy[a] / length) * Math.min(length, most);
    }
  }
  return toBox(Array.from(x, (v, k) => [v, y[k]]));
}

// Places scaled to 1000 x 700.
function toBox(places) {
  const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  for (const place of places) {
    for (const k of [0, 1]) {
      low[k] = Math.min(low[k], place[k]);
      high[k] = Math.max(high[k], place[k]);
    }
  }
  return places.map((place) => [
    high[0] > low[0] ? (1000 * (place[0] - low[0])) / (high[0] - low[0]) : 500,
    high[1] > low[1] ? (700 * (place[1] - low[1])) / (high[1] - low[1]) : 350,
  ]);
}

// Places pushed apart until squares of side `gap` round them do not overlap, or nearly so; inside [width, height].
function apart(places, gap, [width, height]) {
  const at = places.map((place) => [...place]);
  for (let round = 0; round < 200; round++) {
    let overlap = 0;
    for (let a = 0; a < at.length; a++) {
      for (let b = 0; b < a; b++) {
        const d = [at[a][0] - at[b][0], at[a][1] - at[b][1]];
        const over = d.map((v) => gap - Math.abs(v));
        if (over[0] <= 0 || over[1] <= 0) continue;
        const k = over[0] < over[1] ? 0 : 1;
        const push = 0.5 * over[k] * (d[k] < 0 ? -1 : 1);
        at[a][k] += push;
        at[b][k] -= push;
        overlap = Math.max(overlap, over[k]);
      }
    }
    for (const place of at) {
      place[0] = Math.min(Math.max(place[0], 0), width);
      place[1] = Math.min(Math.max(place[1], 0), height);
    }
    if (overlap < 0.02 * gap) break;
  }
  return at;
}

// Edges that keep together what belongs together: a spanning tree of the strongest ones (Kruskal), and of every
// node its `best` strongest. order: edges, the strongest first; ends(e): two nodes; returns a set of edges.
function backbone(n, order, ends, best) {
  const parent = Array.from({ length: n }, (_, k) => k);
  const root = (k) => {
    while (parent[k] !== k) k = parent[k] = parent[parent[k]];
    return k;
  };
  const kept = new Set();
  const num = new Uint16Array(n);
  for (const e of order) {
    const [a, b] = ends(e);
    const [ra, rb] = [root(a), root(b)];
    if (ra !== rb || num[a] < best || num[b] < best) kept.add(e);
    if (ra !== rb) parent[ra] = rb;
    num[a]++;
    num[b]++;
  }
  return kept;
}
