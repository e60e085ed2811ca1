// The shaders. Tables over the vertices are textures of WIDE columns: vertex i lies at (i % WIDE, i / WIDE).

export const WIDE = 128;
export const MOST = 128; // components; 64 vec4 of uniforms each for shape and albedo

const HEAD = `#version 300 es
precision highp float; precision highp int; precision highp isampler2DArray; precision highp usampler2DArray;
precision highp sampler2D;
ivec2 place(int i) { return ivec2(i % ${WIDE}, i / ${WIDE}); }
`;

export const FULL = `${HEAD}
void main() { gl_Position = vec4(vec2(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1), 0, 1); }`;

// X = a + B m and albedo = c + D h, for every vertex; m and h as pairs of a number that is not zero and its component
export const DEFORM = `${HEAD}
uniform sampler2D mean, meanAlbedo; uniform isampler2DArray shape, albedo;
uniform vec4 m[${MOST / 2}], h[${MOST / 2}]; uniform int nShape, nAlbedo; uniform float stepShape, stepAlbedo;
layout(location = 0) out vec4 X; layout(location = 1) out vec4 colour;
vec2 pair(vec4 two, int k) { return k % 2 == 0 ? two.xy : two.zw; }
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec3 x = vec3(0), c = vec3(0);
  for (int k = 0; k < nShape; k++) {
    vec2 p = pair(m[k / 2], k);
    x += p.x * vec3(texelFetch(shape, ivec3(at, int(p.y)), 0).xyz);
  }
  for (int k = 0; k < nAlbedo; k++) {
    vec2 p = pair(h[k / 2], k);
    c += p.x * vec3(texelFetch(albedo, ivec3(at, int(p.y)), 0).xyz);
  }
  X = vec4(texelFetch(mean, at, 0).xyz + stepShape * x, 1);
  colour = vec4(texelFetch(meanAlbedo, at, 0).xyz + stepAlbedo * c, 1);
}`;

// Unit normals: the triangles around a vertex, weighted by their areas. A layer of \`ring\` is one of them.
export const NORMALS = `${HEAD}
uniform sampler2D X; uniform usampler2DArray ring; uniform int layers;
out vec4 normal;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec3 x = texelFetch(X, at, 0).xyz, n = vec3(0);
  for (int k = 0; k < layers; k++) {
    uvec2 other = texelFetch(ring, ivec3(at, k), 0).xy;
    if (other.x == 0xffffffffu) break;
    n += cross(texelFetch(X, place(int(other.x)), 0).xyz - x, texelFetch(X, place(int(other.y)), 0).xyz - x);
  }
  normal = vec4(n / max(length(n), 1e-12), 1);
}`;

// What every pass over the surface does with a vertex
const VERTEX = `${HEAD}
uniform sampler2D X, albedo, normal, uv, values; uniform mat4 clip; uniform float morph, toward, square;
uniform vec3 middle;
vec3 place3(int i) {
  vec3 x = texelFetch(X, place(i), 0).xyz;
  if (morph > 0.0) {
    vec2 t = texelFetch(uv, place(i), 0).xy;
    x = mix(x, middle + square * vec3(t.x - 0.5, 0.5 - t.y, 0), morph);
  }
  return x;
}`;

// Colours are computed at the vertices, as \`facenb.pictures.lit_colours\` does
export const SURFACE = `${VERTEX}
uniform int look, face; uniform bool inverse, reciprocal, linearAlbedo; uniform mat3 viewer; uniform float light[27];
uniform vec3 tint;
out vec3 colour, bent; out vec2 at; out float value, lit;
vec3 toLinear(vec3 c) { return mix(c / 12.92, pow((max(c, 0.0) + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
vec3 toDisplay(vec3 c) {
  c = max(c, 0.0);
  return mix(12.92 * c, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
}
vec3 shading(vec3 n) {
  float Y[9] = float[9](SH0, SH1 * n.y, SH1 * n.z, SH1 * n.x, SH2 * n.x * n.y, SH2 * n.y * n.z,
    SH3 * (3.0 * n.z * n.z - 1.0), SH2 * n.x * n.z, SH4 * (n.x * n.x - n.y * n.y));
  vec3 s = vec3(0);
  for (int k = 0; k < 9; k++) s += Y[k] * vec3(light[k], light[9 + k], light[18 + k]);
  return s;
}
vec3 lamp(vec3 n, vec3 d, vec3 c) { return max(dot(n, normalize(d)), 0.0) * c; }
vec3 clay(vec3 n) { // \`facenb.pictures.clay_colours\`
  vec3 v = viewer * n;
  vec3 s = mix(vec3(0.05, 0.045, 0.04), vec3(0.13, 0.14, 0.16), (v.y + 1.0) / 2.0);
  s += lamp(v, vec3(-0.65, 0.70, 0.70), vec3(0.95, 0.90, 0.83)) + lamp(v, vec3(0.90, 0.10, 0.55), vec3(0.17, 0.19, 0.22));
  s += lamp(v, vec3(0.75, 0.45, -0.65), vec3(0.30, 0.30, 0.32));
  return toDisplay(vec3(0.66, 0.46, 0.36) * s);
}
void main() {
  int i = gl_VertexID;
  vec3 a = texelFetch(albedo, place(i), 0).xyz, n = texelFetch(normal, place(i), 0).xyz;
  bent = n; at = texelFetch(uv, place(i), 0).xy; value = texelFetch(values, place(i), 0).x;
  lit = i < face ? 1.0 : 0.0;
  vec3 s = shading(n);
  if (reciprocal) s = 1.0 / max(s, vec3(0.05)); // an inverse light, used as a physical one
  if (i >= face || look == 1) colour = linearAlbedo ? toDisplay(a) : a;
  else if (look == 2) colour = clay(n);
  else if (inverse) { colour = a / max(s, vec3(0.05)); if (linearAlbedo) colour = toDisplay(colour); }
  else colour = toDisplay((linearAlbedo ? max(a, 0.0) : toLinear(max(a, 0.0))) * max(s, 0.0));
  if (i < face && look == 5) colour = toDisplay(max(s, 0.0) * 0.5);
  if (i < face && look == 7) colour = toDisplay(s); // times the photo's display values, as \`facenb.relight\` does
  gl_Position = clip * vec4(place3(i), 1);
}`;

// look: 0 lit skin, 1 albedo, 2 clay, 3 normals, 4 checker of uv, 5 shading, 6 values, 7 photo over uv
export const COLOUR = `${HEAD}
in vec3 colour, bent; in vec2 at; in float value, lit;
uniform int look; uniform sampler2D photo; uniform vec3 low, mid, high; uniform float opacity;
out vec4 pixel;
void main() {
  vec3 c = colour;
  if (lit > 0.5) {
    if (look == 3) c = 0.5 * normalize(bent) + 0.5;
    else if (look == 4) {
      vec2 q = floor(at * 16.0);
      float odd = mod(q.x + q.y, 2.0);
      c *= mix(0.62, 1.0, odd);
      c = mix(c, vec3(0.25 + 0.7 * at.x, 0.35 + 0.45 * (1.0 - at.y), 0.25 + 0.65 * at.y), 0.55);
    } else if (look == 6) c = value < 0.0 ? mix(mid, low, clamp(-value, 0.0, 1.0)) : mix(mid, high, clamp(value, 0.0, 1.0));
    else if (look == 7) c *= texture(photo, at).rgb;
  }
  pixel = vec4(clamp(c, 0.0, 1.0), 1) * opacity;
}`;

// Edges and points, a little nearer to the viewer than the surface they lie on
export const MARKS = `${VERTEX}
uniform float size;
void main() {
  gl_Position = clip * vec4(place3(gl_VertexID), 1);
  gl_Position.z -= toward * gl_Position.w;
  gl_PointSize = size;
}`;

export const PLAIN = `${HEAD}
uniform vec4 ink; uniform bool round; out vec4 pixel;
void main() {
  if (round && length(gl_PointCoord - 0.5) > 0.5) discard;
  pixel = vec4(ink.rgb * ink.a, ink.a);
}`;
