import { spawnSync } from 'node:child_process';
import { CudaDriver } from '../../src/backends/cuda/device/driver.ts';
import { loadTarget } from '../../src/bench/bench-target.ts';
import { measure } from '../../src/bench/measure.ts';
import { MODEL_SHAPES } from '../../src/bench/model-shapes.ts';
import { test } from '../browser/suite/vitest-in-page.ts';

/** The argument with which the script does what {@link describeOneLaunch} compares, before the name of a shape. */
export const DECODE_ALONE = '--decode-alone';

/** A model whose weights threads copy, and one of which whole rows are copied: see docs/cuda.md. */
const SHAPES = ['mamba2-130m', 'mamba2-780m'] as const;
type Shape = (typeof SHAPES)[number];
const TOKENS = 100;
/** Milliseconds after which a process counts as hung. The first one has the driver compile all kernels. */
const PATIENCE = 240_000;

interface Decoded {
  readonly tokens: readonly number[];
  /** Hash of all logits' bits. */
  readonly hash: number;
  readonly tokensPerSecond: number;
  /** The kernel for all layers, if it was loaded. */
  readonly kernel?: string | undefined;
}

/**
 * Tests that a sequence of synthetic models gets the same bits where all layers are one launch, and tells how fast both are. Each
 * decodes in a process of its own: blocks that wait for each other may hang.
 */
export function describeOneLaunch(): void {
  for (const shape of SHAPES) {
    test(`one launch for all layers gives the bits of one for each kernel: ${shape}`, () => compareLaunches(shape));
  }
}

function compareLaunches(shape: Shape): void {
  const alone = decodeWith(shape, '0');
  const joined = decodeWith(shape, '1');
  const rates = [alone, joined].map(({ tokensPerSecond }) => tokensPerSecond.toFixed(0));
  const kernel = joined.kernel ?? 'not taken here';
  process.stdout.write(
    `${shape}, float16, 1 sequence: ${rates[0]} tokens/s; one launch for all layers (${kernel}): ${rates[1]}\n`,
  );
  if (alone.kernel) throw new Error(`${alone.kernel} was loaded although it was not wanted`);
  const place = alone.tokens.findIndex((token, i) => token !== joined.tokens[i]);
  if (place !== -1) throw new Error(`token ${place} is ${joined.tokens[place]}, not ${alone.tokens[place]}`);
  if (alone.hash !== joined.hash) throw new Error('the tokens are the same, but not the bits of the logits');
}

function decodeWith(shape: Shape, oneLaunch: '0' | '1'): Decoded {
  const result = spawnSync(process.execPath, [process.argv[1], DECODE_ALONE, shape], {
    encoding: 'utf8',
    env: { ...process.env, MAMBA2_CUDA_ONE_LAUNCH: oneLaunch },
    timeout: PATIENCE,
    killSignal: 'SIGKILL',
  });
  if (result.status === 0) return JSON.parse(result.stdout) as Decoded;
  const why = result.error?.message ?? result.stderr.trim().slice(-1000);
  throw new Error(`MAMBA2_CUDA_ONE_LAUNCH=${oneLaunch}: ${why}`);
}

/** Has the model decode that the script's arguments name, and writes a {@link Decoded} to the standard output. */
export async function decodeAlone(): Promise<void> {
  const name = SHAPES.find((shape) => shape === process.argv[3]) ?? SHAPES[0];
  const kernels = watchKernels();
  const { signal } = new AbortController();
  const target = await loadTarget(
    { name, config: MODEL_SHAPES[name] },
    {
      dtype: 'float16',
      device: 'cuda',
      tensorParallelSize: 1,
      slots: 1,
      stepTokens: 512,
      maxModelLen: 2 * TOKENS,
      onProgress() {},
      signal,
    },
  );
  const tokens: number[] = [];
  let hash = 0;
  let tokenIds = [1, 2, 3, 4, 5, 6, 7, 8];
  for (let numComputedTokens = 0; tokens.length < TOKENS; ) {
    const { logits } = await target.context.executor.execute({
      sequences: [{ slot: 0, numComputedTokens, tokenIds }],
      logits: 'last',
    });
    for (const bits of new Uint32Array(logits.buffer, logits.byteOffset, logits.length))
      hash = Math.imul(hash ^ bits, 16777619);
    numComputedTokens += tokenIds.length;
    tokenIds = [logits.indexOf(logits.reduce((most, value) => Math.max(most, value)))];
    tokens.push(tokenIds[0]);
  }
  const settings = { promptTokens: [], batchSizes: [], requests: [1], generateTokens: TOKENS, repetitions: 3 };
  const [{ tokensPerSecond }] = await measure(target, settings, signal, () => {});
  const kernel = kernels.find((name) => name.startsWith('mamba_layers'));
  process.stdout.write(
    JSON.stringify({ tokens, hash, tokensPerSecond: tokensPerSecond.median, kernel } satisfies Decoded),
  );
}

/** Names of the kernels that are loaded from now on. */
function watchKernels(): readonly string[] {
  const names: string[] = [];
  const load = CudaDriver.load.bind(CudaDriver);
  CudaDriver.load = async (path) => {
    const driver = await load(path);
    const { functions } = driver;
    const watched: Partial<typeof functions> = {
      cuModuleGetFunction: (kernel, module, name) => {
        names.push(name);
        return functions.cuModuleGetFunction(kernel, module, name);
      },
    };
    return Object.assign(driver, { functions: { ...functions, ...watched } });
  };
  return names;
}
