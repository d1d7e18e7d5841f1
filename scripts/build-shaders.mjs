// Makes one TypeScript module of src/backends/webgpu/shaders/**/*.wgsl, so that the package loads them alike in Node, in
// browsers, in workers and through bundlers: of each shader its text, parsed, and with types what a dispatch must give it
// (constants, params, fixed numbers, bindings). A shader is known by its file's name, whatever folder the file is in.
//
// Besides WGSL a shader's text may have:
//
//     #include "name"            the text of name.wgsl
//     #if NAME / #else / #endif  lines for a constant that is true, or not 0; #if !NAME the other way round
//     #if NAME == value          lines for a constant that is this word
//     #for i COUNT / #endfor     lines repeated with the constant i from 0 to COUNT - 1; COUNT may be a number
//     $NAME or ${NAME}           a constant's value
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const folder = 'src/backends/webgpu/shaders/';
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.wgsl'));
const texts = new Map(
  files
    .map((file) => [basename(file, '.wgsl'), parse(file, readFileSync(folder + file, 'utf8'))])
    .sort(([a], [b]) => (a < b ? -1 : 1)),
);
if (texts.size !== files.length) throw new Error(`Two shaders in ${folder} have the same name.`);
// Texts that are included are parts of shaders, and no shader by themselves.
const parts = new Set([...texts.values()].flatMap((text) => [...includesOf(text)]));
const interfaces = [...texts.keys()].filter((name) => !parts.has(name)).map((name) => [name, interfaceOf(name)]);

writeFileSync(
  `${folder}shaders.generated.ts`,
  `// Made by scripts/build-shaders.mjs from ${folder}.
import type { ShaderInterface, ShaderText } from './shader-text.ts';

/** Arguments that each shader takes from a dispatch. */
export interface ShaderArguments {
${interfaces.map(([name, found]) => `  readonly '${name}': ${typeOf(found)};\n`).join('')}}

/** Declarations of each shader's text. */
export const SHADERS: Readonly<Record<keyof ShaderArguments, ShaderInterface>> = {
${interfaces.map(([name, { params, fixed, bindings }]) => `  '${name}': ${JSON.stringify({ params, fixed, bindings })},\n`).join('')}};

/** The texts of shaders, and those that they include. */
export const SHADER_TEXTS: Readonly<Record<string, ShaderText>> = {
${[...texts].map(([name, text]) => `  '${name}': ${JSON.stringify(text)},\n`).join('')}};
`,
);

// --- texts ----------------------------------------------------------------------------------------------------------

/** A text as the nodes of shader-text.ts. */
function parse(file, text) {
  const lines = text.split('\n');
  let at = 0;
  const block = (...ends) => {
    const nodes = [];
    for (; at < lines.length; at++) {
      const [, directive, operand = ''] = /^\s*#(include|if|else|endif|for|endfor)\s*(.*?)\s*$/.exec(lines[at]) ?? [];
      if (ends.includes(directive)) return nodes;
      if (directive === undefined) nodes.push(line(lines[at]));
      else if (directive === 'include') nodes.push({ include: split(operand.slice(1, -1)) });
      else if (directive === 'if') nodes.push(condition(operand));
      else if (directive === 'for') nodes.push(loop(operand));
      else throw new Error(`${file}:${at + 1}: nothing that #${directive} ends.`);
    }
    if (ends.length > 0) throw new Error(`${file}: an #if or #for has no end.`);
    return nodes;
  };
  const condition = (operand) => {
    const [, not, name, value] = /^(!?)(\w+)(?:\s*==\s*(\w+))?$/.exec(operand) ?? fail(file, at, operand);
    at++;
    const found = block('else', 'endif');
    let otherwise = [];
    if (/^\s*#else/.test(lines[at])) {
      at++;
      otherwise = block('endif');
    }
    const is = value === undefined ? {} : { is: value };
    const [yes, no] = not ? [otherwise, found] : [found, otherwise];
    return { if: name, ...is, lines: yes, otherwise: no };
  };
  const loop = (operand) => {
    const [, index, count] = /^(\w+)\s+(\w+)$/.exec(operand) ?? fail(file, at, operand);
    at++;
    return { for: index, count: /^\d+$/.test(count) ? Number(count) : count, lines: block('endfor') };
  };
  return block();
}

function fail(file, at, operand) {
  throw new Error(`${file}:${at + 1}: '${operand}' is no condition or loop.`);
}

/** A line, or its parts where it has constants. */
function line(text) {
  const found = split(text);
  return found.length === 1 ? text : { parts: found };
}

/** Text and names of constants in turn. */
function split(text) {
  return text.split(/\$(?:\{(\w+)\}|([A-Za-z]\w*))/).filter((part) => part !== undefined);
}

// --- what they declare ------------------------------------------------------------------------------------------------

/** Every line that a text can come to, with the conditions that it depends on; `use` is told of each constant. */
function* linesOf(text, when = [], loops = [], use = () => {}) {
  const used = (name, kind, value) => loops.includes(name) || use(name, kind, value);
  for (const node of text) {
    if (typeof node === 'string') yield { line: node, when };
    else if (node.parts) {
      for (let i = 1; i < node.parts.length; i += 2) used(node.parts[i], 'value');
      yield { line: node.parts.join('$'), when };
    } else if (node.include) {
      const { include } = node;
      if (include.length > 1) used(include[1], 'name', includedAs(include));
      for (const name of included(include)) yield* linesOf(texts.get(name), when, loops, use);
    } else if (node.if) {
      const { if: name, is } = node;
      used(name, is === undefined ? 'flag' : 'name', is === undefined ? undefined : [is]);
      const condition = is === undefined ? { if: name } : { if: name, is };
      yield* linesOf(node.lines, [...when, condition], loops, use);
      yield* linesOf(node.otherwise, [...when, { ...condition, not: true }], loops, use);
    } else {
      if (typeof node.count === 'string') used(node.count, 'number');
      yield* linesOf(node.lines, when, [...loops, node.for], use);
    }
  }
}

/** The names of all texts that a text includes. */
function* includesOf(text) {
  for (const node of text) {
    if (node.include) for (const name of included(node.include)) yield* [name, ...includesOf(texts.get(name))];
    for (const lines of [node.lines, node.otherwise]) if (lines) yield* includesOf(lines);
  }
}

/** The texts that an #include may mean: where a constant is part of the name, all that fit. */
function included(include) {
  if (include.length === 1) return texts.has(include[0]) ? include : missing(include);
  return includedAs(include).map((value) => include[0] + value + include[2]);
}

function includedAs([begin, , end]) {
  const names = [...texts.keys()].filter((name) => name.startsWith(begin) && name.endsWith(end));
  return names.map((name) => name.slice(begin.length, name.length - end.length));
}

function missing([name]) {
  throw new Error(`There is no shader '${name}' to include.`);
}

/** A shader's constants, by how they are used, and the fields and bindings that it declares. */
function interfaceOf(shader) {
  const constants = new Map();
  const found = { constants, params: [], fixed: [], bindings: [] };
  let structure;
  const use = (name, kind, values = []) => {
    const known = constants.get(name) ?? { kinds: new Set(), values: new Set() };
    known.kinds.add(kind);
    for (const value of values) known.values.add(value);
    constants.set(name, known);
  };
  for (const { line, when } of linesOf(texts.get(shader), [], [], use)) {
    const code = line.replace(/\/\/.*/, '');
    const [, opened] = /^struct (Params|Fixed) \{/.exec(code) ?? [];
    if (opened) structure = opened === 'Params' ? found.params : found.fixed;
    else if (code.startsWith('}')) structure = undefined;
    const field = structure && /^\s*(\w+)\s*:\s*(u32|i32|f32)\s*,/.exec(code);
    const unless = when.length > 0 ? { when } : {};
    if (field) structure.push({ name: field[1], type: field[2], ...unless });
    const [, at, access, name] = /@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)/.exec(code) ?? [];
    if (at) found.bindings.push({ binding: Number(at), name, access, ...unless });
  }
  return found;
}

/** The type of a shader's arguments. */
function typeOf({ constants, params, fixed, bindings }) {
  const types = [...constants].map(([name, { kinds, values }]) => `readonly ${name}: ${constantType(kinds, values)}`);
  const names = (declared) => [...new Set(declared.map(({ name }) => `'${name}'`))].join(' | ') || 'never';
  return `{
    readonly constants: { ${types.join('; ')} };
    readonly params: ${names(params)};
    readonly fixed: ${names(fixed)};
    readonly bindings: ${names(bindings)};
  }`;
}

/** The words that a constant is compared with or that name a text, or a number, or a flag. */
function constantType(kinds, values) {
  if (kinds.has('number')) return 'number';
  if (values.size > 0) return [...values].map((value) => `'${value}'`).join(' | ');
  return kinds.has('value') ? 'number' : 'boolean';
}
