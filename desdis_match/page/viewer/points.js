// The points of a model by WebGL, darker where nearer ones stand before them (eye-dome lighting, Boucheny 2009).
// They come in random order: some are drawn at once, and alone while the view moves, the rest frame by frame.

const FIRST_PORTION = 100000; // points that are drawn at once; then as many as FRAME allows
const LEAST_PORTION = 20000;
const MOST_PORTIONS = 6; // of one picture, for each is shaded anew
const FRAME = 40; // milliseconds that a portion may take

const rgb = (name) => color(name).match(/\w\w/g).map((part) => parseInt(part, 16) / 255);

class PointRenderer {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    if (!this.gl) return;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.start(); this.setCloud(this.cloud); this.onRestore(); });
    this.onRestore = () => {};
    this.start();
  }

  start() {
    const { gl } = this;
    this.points = this.program(`#version 300 es
      uniform mat4 clip; uniform float size, reference, least, most, far; uniform vec4 tint; uniform vec3 middle;
      layout(location=0) in vec3 position; layout(location=1) in vec3 color;
      layout(location=2) in float tracked; layout(location=3) in float error;
      out vec3 shade;
      void main() {
        gl_Position = clip * vec4(position, 1.0);
        if (tracked < least || error > most || distance(position, middle) > far) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
        gl_PointSize = clamp(size * pow(reference / max(gl_Position.w, 1e-9), 0.75), 1.0, 30.0);
        shade = mix(color, tint.rgb, tint.a);
      }`, `#version 300 es
      precision mediump float; in vec3 shade; out vec4 pixel;
      void main() {
        if (length(gl_PointCoord - 0.5) > 0.55) discard;
        pixel = vec4(shade, 1.0);
      }`);
    this.lighting = this.program(`#version 300 es
      const vec2 corners[3] = vec2[3](vec2(-1.0, -1.0), vec2(3.0, -1.0), vec2(-1.0, 3.0));
      void main() { gl_Position = vec4(corners[gl_VertexID], 0.0, 1.0); }`, `#version 300 es
      precision highp float; uniform sampler2D colors, depths; uniform vec2 range; uniform float strength, reach; out vec4 pixel;
      float away(ivec2 at) {
        float d = texelFetch(depths, clamp(at, ivec2(0), textureSize(depths, 0) - 1), 0).r;
        return d >= 1.0 ? -1.0 : log2(2.0 * range.x * range.y / (range.y + range.x - (2.0 * d - 1.0) * (range.y - range.x)));
      }
      void main() {
        ivec2 at = ivec2(gl_FragCoord.xy);
        pixel = texelFetch(colors, at, 0);
        float here = away(at);
        if (here < 0.0 && texelFetch(depths, at, 0).r >= 1.0) return;
        int step = int(reach);
        float sum = 0.0;
        for (int x = -1; x <= 1; x++) for (int y = -1; y <= 1; y++) {
          ivec2 beside = at + step * ivec2(x, y);
          if (texelFetch(depths, clamp(beside, ivec2(0), textureSize(depths, 0) - 1), 0).r < 1.0) sum += max(0.0, here - away(beside));
        }
        pixel.rgb *= max(exp(-strength * sum), 0.35);
      }`);
    this.picture = this.program(`#version 300 es
      uniform mat4 clip; layout(location=0) in vec3 position; layout(location=1) in vec2 at; out vec2 place;
      void main() { gl_Position = clip * vec4(position, 1.0); place = at; }`, `#version 300 es
      precision mediump float; uniform sampler2D photo; in vec2 place; out vec4 pixel;
      void main() { pixel = vec4(texture(photo, place).rgb, 0.92); }`);
    this.strokes = this.program(`#version 300 es
      uniform mat4 clip; layout(location=0) in vec3 position;
      void main() { gl_Position = clip * vec4(position, 1.0); }`, `#version 300 es
      precision mediump float; uniform vec3 ink; out vec4 pixel;
      void main() { pixel = vec4(ink, 1.0); }`);
    this.lines = gl.createVertexArray();
    this.linesBuffer = gl.createBuffer();
    this.numLines = 0;
    this.target = gl.createFramebuffer();
    this.quad = gl.createVertexArray();
    this.quadBuffer = gl.createBuffer();
    this.texture = null;
    this.numSeen = 0;
    this.portion = FIRST_PORTION;
    this.fence = null;
  }

  program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text.trim());
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniform = {};
    for (let k = 0; k < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); k++) {
      const { name } = gl.getActiveUniform(program, k);
      uniform[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniform };
  }

  // cloud: positions (3 floats a point), colors (3 bytes), lengths (bytes), errors (bytes, in steps).
  setCloud(cloud) {
    this.cloud = cloud;
    if (!this.gl) return;
    const { gl } = this;
    this.buffers = {};
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    this.attribute("positions", 0, cloud.positions, 3, gl.FLOAT, false);
    this.attribute("colors", 1, cloud.colors, 3, gl.UNSIGNED_BYTE, true);
    this.attribute("lengths", 2, cloud.lengths, 1, gl.UNSIGNED_BYTE, false);
    this.attribute("errors", 3, cloud.errors, 1, gl.UNSIGNED_BYTE, false);
    this.seen = gl.createBuffer();
    gl.bindVertexArray(null);
  }

  attribute(name, location, data, size, type, normalised) {
    const { gl } = this;
    this.buffers[name] = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, normalised, 0, 0);
  }

  setColors(colors) {
    this.cloud.colors = colors;
    if (!this.gl) return;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers.colors);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, colors, this.gl.STATIC_DRAW);
  }

  // Rows of the points to stand out.
  setSeen(rows) {
    this.numSeen = rows.length;
    if (!this.gl) return;
    const { gl } = this;
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.seen);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rows, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  setPhoto(photo) {
    const { gl } = this;
    if (this.texture) gl.deleteTexture(this.texture);
    this.texture = null;
    if (!photo) return;
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, photo);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  // Textures to draw into, of the canvas' size.
  resize(width, height) {
    const { gl } = this;
    if (this.size === `${width} ${height}` && this.depths) return;
    this.size = `${width} ${height}`;
    for (const texture of [this.colors, this.depths]) if (texture) gl.deleteTexture(texture);
    const texture = (inside, outside, type) => {
      const made = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, made);
      gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, outside, type, null);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      return made;
    };
    this.colors = texture(gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE);
    this.depths = texture(gl.DEPTH_COMPONENT24, gl.DEPTH_COMPONENT, gl.UNSIGNED_INT);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.colors, 0);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, this.depths, 0);
  }

  // A new picture, with its first points. view: clip (matrix), near, far (planes), size (pixels), reference (distance
  // of that size), least, most (stored error), cut (distance from middle), middle, ratio, shading, frame ((x, y, z, u,
  // v) of two triangles, or null).
  draw(width, height, view) {
    const { gl } = this;
    this.resize(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, view.shading ? this.target : null);
    gl.viewport(0, 0, width, height);
    gl.clearColor(...rgb("scene"), 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.view = view;
    this.numDrawn = 0;
    this.numPoints = this.cloud.lengths.length;
    this.next(this.portion);
  }

  // Further points of the same picture, as soon as those before are drawn; returns whether some are left.
  more() {
    const { gl, fence } = this;
    if (gl.isContextLost() || !fence) return false;
    if (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) return true;
    gl.deleteSync(fence);
    this.fence = null;
    const took = Math.max(performance.now() - this.asked, 1);
    this.portion = Math.max(this.portion * Math.min(Math.max(FRAME / took, 0.25), 4), LEAST_PORTION);
    if (this.numDrawn >= this.numPoints) return false;
    this.next(Math.max(this.portion, this.numPoints / MOST_PORTIONS));
    return true;
  }

  // All that is left, at once.
  rest() { if (this.numDrawn < this.numPoints) this.next(Infinity); }

  next(num) {
    const { gl, view } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, view.shading ? this.target : null);
    const end = Math.min(Math.round(this.numDrawn + num), this.numPoints);
    this.drawPoints(view, this.numDrawn, end);
    this.numDrawn = end;
    if (view.shading) this.light(view);
    if (this.numLines) this.drawLines(view);
    if (this.texture && view.frame) this.drawPhoto(view);
    gl.bindVertexArray(null);
    if (this.fence) gl.deleteSync(this.fence);
    this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    this.asked = performance.now();
    gl.flush();
  }

  drawPoints(view, start, end) {
    const { gl } = this;
    const { program, uniform } = this.points;
    gl.useProgram(program);
    gl.uniformMatrix4fv(uniform.clip, false, view.clip);
    for (const [name, value] of Object.entries({
      size: view.size * view.ratio, reference: view.reference, least: view.least, most: view.most, far: view.cut,
    })) gl.uniform1f(uniform[name], value);
    gl.uniform3f(uniform.middle, ...view.middle);
    gl.uniform4f(uniform.tint, 0, 0, 0, 0);
    gl.bindVertexArray(this.array);
    gl.drawArrays(gl.POINTS, start, end - start);
    if (this.numSeen && !start) {
      gl.uniform4f(uniform.tint, ...rgb("picked"), 0.6);
      gl.uniform1f(uniform.size, (view.size + 0.7) * view.ratio);
      gl.depthFunc(gl.LEQUAL);
      gl.drawElements(gl.POINTS, this.numSeen, gl.UNSIGNED_INT, 0);
      gl.depthFunc(gl.LESS);
    }
  }

  light(view) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    const { program, uniform } = this.lighting;
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.depths);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.colors);
    gl.uniform1i(uniform.colors, 0);
    gl.uniform1i(uniform.depths, 1);
    gl.uniform2f(uniform.range, view.near, view.far);
    gl.uniform1f(uniform.strength, 1.2);
    gl.uniform1f(uniform.reach, Math.max(1, Math.round(view.ratio)));
    gl.bindVertexArray(null);
    gl.depthFunc(gl.ALWAYS);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.depthFunc(gl.LESS);
  }

  // places: both ends of each line, x, y, z; they are above all points.
  setLines(places) {
    const { gl } = this;
    this.numLines = places.length / 3;
    gl.bindVertexArray(this.lines);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.linesBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.bindVertexArray(null);
  }

  drawLines(view) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(this.strokes.program);
    gl.uniformMatrix4fv(this.strokes.uniform.clip, false, view.clip);
    gl.uniform3f(this.strokes.uniform.ink, ...rgb("camera"));
    gl.bindVertexArray(this.lines);
    gl.disable(gl.DEPTH_TEST);
    gl.drawArrays(gl.LINES, 0, this.numLines);
    gl.enable(gl.DEPTH_TEST);
  }

  drawPhoto(view) {
    const { gl } = this;
    gl.useProgram(this.picture.program);
    gl.uniformMatrix4fv(this.picture.uniform.clip, false, view.clip);
    gl.bindVertexArray(this.quad);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.quadBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, view.frame, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 20, 0);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, 2, gl.FLOAT, false, 20, 12);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.TRIANGLES, 0, 6);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
  }
}
