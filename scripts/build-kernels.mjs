// Compiles kernels/ (AssemblyScript) with and without relaxed SIMD and writes both as base64 into one TypeScript module,
// with the type of what they export: that way the package loads them alike in Node, in browsers, in workers and through
// bundlers, and a call that does not fit a kernel is a type error. The same for the kernels of `mamba2 bench`, in a module
// of their own: programs do not load them.
import { readFileSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

// Bindings are asked for because of the declarations among them.
const OPTIONS = ['-O3', '--runtime', 'stub', '--importMemory', '--noAssert', '--bindings', 'raw'];

/** Compiled modules, by the source file that exports their kernels. */
const MODULES = {
  'kernels/index.ts': 'src/backends/cpu/kernels/kernels.generated.ts',
  'kernels/trial/index.ts': 'src/backends/cpu/kernels/trial-kernels.generated.ts',
  'kernels/bench/index.ts': 'src/bench/kernels.generated.ts',
};

/** The file that says how products of integers are made; constants of it that a form replaces. */
const FORM_FILE = 'kernels/products/form.ts';
const FORM_CONSTANTS = { kind: 'FORM: i32 = DOT', vectors: 'VECTORS: i32 = 4' };

/** Forms of products. A narrow one takes two vectors of weights at once instead of four. */
const FORMS = {
  dot: { kind: 'DOT', vectors: 4 },
  'dot-narrow': { kind: 'DOT', vectors: 2 },
  pairs: { kind: 'PAIRS', vectors: 4 },
  'pairs-narrow': { kind: 'PAIRS', vectors: 2 },
  words: { kind: 'WORDS', vectors: 4 },
  'words-narrow': { kind: 'WORDS', vectors: 2 },
};

/** A module for each form. */
const PRODUCTS = {
  source: 'kernels/products/index.ts',
  target: 'src/backends/cpu/kernels/product-kernels.generated.ts',
  begin: 49152,
  memoryEach: 2048,
};

/** Bytes where a module keeps its constants: modules share a memory, whose first 64 KB are theirs. */
const MEMORY = { begin: 1024, end: 16384 };

/** A module for each format and kind of products, from a source that is written for one format. */
const BLOCKS = {
  source: 'kernels/blocks/index.ts',
  target: 'src/backends/cpu/kernels/block-kernels.generated.ts',
  formats: ['Q8_0', 'Q4_0', 'Q4_K', 'Q5_K', 'Q6_K', 'MXFP4', 'NVFP4', 'INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128'],
  writtenFor: 'Q8_0 as Format',
  memoryEach: 2048,
};

/** @param options `text` of the source, and the `form` of its products. */
async function compile(source, features, memory = MEMORY, { text, form = FORMS.dot } = {}) {
  const files = new Map();
  const limits = ['--memoryBase', String(memory.begin), '--lowMemoryLimit', String(memory.end)];
  const options = [...limits, ...features.flatMap((feature) => ['--enable', feature])];
  const { error, stderr } = await asc.main([source, ...OPTIONS, ...options, '-o', 'kernels.wasm'], {
    readFile: (file) => {
      if (file === source && text !== undefined) return text;
      const found = readSource(file);
      return file === FORM_FILE ? inForm(found, form) : found;
    },
    writeFile: (file, contents) => files.set(file, contents),
  });
  const messages = stderr.toString();
  if (error || messages) {
    console.error(messages);
    process.exit(1);
  }
  return { base64: Buffer.from(files.get('kernels.wasm')).toString('base64'), declarations: files.get('kernels.d.ts') };
}

function readSource(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // The compiler looks for a module in several places.
    return null;
  }
}

/** Features of the engine that a form's products need. */
function featuresOf({ kind }) {
  return kind === 'WORDS' ? ['simd'] : ['simd', 'relaxed-simd'];
}

function inForm(text, { kind, vectors }) {
  for (const constant of Object.values(FORM_CONSTANTS)) {
    if (!text.includes(constant)) throw new Error(`${FORM_FILE} has no '${constant}'.`);
  }
  return text
    .replace(FORM_CONSTANTS.kind, `FORM: i32 = ${kind}`)
    .replace(FORM_CONSTANTS.vectors, `VECTORS: i32 = ${vectors}`);
}

/** The exported functions as members of an object type. Flags are numbers, because that is what WebAssembly takes. */
function members(declarations) {
  const functions = [...declarations.matchAll(/export function (\w+\(.*\): \w+;)/g)].map(([, member]) => member);
  return functions.map((member) => `  ${member.replaceAll(': boolean', ': number')}\n`).join('');
}

for (const [source, target] of Object.entries(MODULES)) {
  const simd = await compile(source, ['simd']);
  const relaxed = await compile(source, ['simd', 'relaxed-simd']);
  writeFileSync(
    target,
    `// Made by scripts/build-kernels.mjs from ${source.replace('index.ts', '')}.
export const SIMD: string = '${simd.base64}';
export const RELAXED_SIMD: string = '${relaxed.base64}';

/** Exports of ${source}. Addresses and strides are in bytes, counts in elements, flags 0 or 1. */
export type Kernels = {
${members(simd.declarations)}};
`,
  );
}

await buildProducts();
await buildBlocks();
await buildLogits();

async function buildProducts() {
  const modules = {};
  let declarations;
  for (const [i, [name, form]] of Object.entries(FORMS).entries()) {
    const begin = PRODUCTS.begin + i * PRODUCTS.memoryEach;
    const memory = { begin, end: begin + PRODUCTS.memoryEach };
    const compiled = await compile(PRODUCTS.source, featuresOf(form), memory, { form });
    modules[name] = compiled.base64;
    declarations = compiled.declarations;
  }
  writeFileSync(
    PRODUCTS.target,
    `// Made by scripts/build-kernels.mjs from ${PRODUCTS.source.replace('index.ts', '')}.
/** Modules by form. */
export const PRODUCT_KERNELS = ${JSON.stringify(modules, null, 2)};

/** Exports of ${PRODUCTS.source}. Addresses and strides are in bytes, counts in elements. */
export type ProductKernels = {
${members(declarations)}};
`,
  );
}

async function buildBlocks() {
  const modules = {};
  let declarations;
  for (const [i, format] of BLOCKS.formats.entries()) {
    const text = readFileSync(BLOCKS.source, 'utf8').replace(BLOCKS.writtenFor, `${format} as Format`);
    const begin = MEMORY.end + i * BLOCKS.memoryEach;
    const memory = { begin, end: begin + BLOCKS.memoryEach };
    modules[format] = {};
    for (const kind of ['dot', 'pairs', 'words']) {
      const compiled = await compile(BLOCKS.source, featuresOf(FORMS[kind]), memory, { text, form: FORMS[kind] });
      modules[format][kind] = compiled.base64;
      declarations = compiled.declarations;
    }
  }
  writeFileSync(
    BLOCKS.target,
    `// Made by scripts/build-kernels.mjs from ${BLOCKS.source.replace('index.ts', '')}.
/** Modules by format and by kind of products. */
export const BLOCK_KERNELS = ${JSON.stringify(modules, null, 2)};

/** Exports of ${BLOCKS.source}. Addresses and strides are in bytes, counts in elements. */
export type BlockKernels = {
${members(declarations)}};
`,
  );
}

/** Without relaxed instructions: engines differ in what these give, and a seed shall draw the same tokens in all. */
async function buildLogits() {
  const source = 'kernels/logits/index.ts';
  const { base64, declarations } = await compile(source, ['simd']);
  writeFileSync(
    'src/engine/sample/kernels.generated.ts',
    `// Made by scripts/build-kernels.mjs from ${source.replace('index.ts', '')}.
export const LOGITS_KERNELS: string = '${base64}';

/** Exports of ${source}. Addresses are in bytes, counts in elements. */
export type LogitsKernels = {
${members(declarations)}};
`,
  );
}
