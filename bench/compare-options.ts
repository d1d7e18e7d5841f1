import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { MATMUL_PRECISIONS } from '../src/tensor/matmul-precision.ts';
import { STATE_DTYPES } from '../src/tensor/state-dtype.ts';
import { DEVICES, type Device } from './machine.ts';
import { PROCESSORS, type ProcessorKind } from './processor.ts';
import { DTYPES, type DType, QUANTIZATIONS, type Workload } from './workload.ts';

export const PEERS = ['llama.cpp', 'onnxruntime'] as const;
export type PeerName = (typeof PEERS)[number];

/** What a command line asks for. */
export interface CompareOptions {
  readonly action: 'compare' | 'clean' | 'help';
  readonly peer: PeerName;
  readonly device: Device;
  /** Processor that both sides are run as. */
  readonly kind: ProcessorKind;
  readonly shapes: readonly ModelShape[];
  /** Default: the peer's. */
  readonly dtypes: readonly DType[] | undefined;
  readonly workload: Omit<Workload, 'shape'>;
  readonly rounds: number;
  readonly json: boolean;
}

/** Work by the device: a GPU does more at once, and is quick enough to repeat it. */
const DEFAULTS = {
  cpu: { threads: Number.POSITIVE_INFINITY, sequences: 16, generateTokens: 32, repetitions: 1 },
  // The other program's processor only looks up embeddings.
  cuda: { threads: 4, sequences: 64, generateTokens: 128, repetitions: 5 },
} as const satisfies Record<Device, object>;

export const HELP = `Runs mamba2 and another program in turns on models of the same shape, weights and storage.

  --peer <name>          ${PEERS.join(', ')} (default: llama.cpp)
  --device <name>        ${DEVICES.join(', ')}: processor, or the first NVIDIA GPU (default: cpu)
  --shapes <names>       of ${Object.keys(MODEL_SHAPES).join(',')} (default: mamba2-130m)
  --dtypes <names>       of ${DTYPES.join(',')} (default: float32,bfloat16,int8,int4 that the other has;
                         with cuda float16,Q8_0,Q4_K_M, without float16 of large models),
                         or of ${QUANTIZATIONS.join(',')}: the same GGUF file on both sides
  --cpu <kind>           ${PROCESSORS.join(', ')}: run both sides as on a processor with AVX2 only
                         (default: native)
  --threads <n>          on both sides (default: all of the machine); with cuda of the other (default: 4)
  --rounds <n>           (default: 5)
  --repetitions <n>      of each work in a round, whose median counts (default: 1; with cuda 5)
  --prompt-tokens <list> to prefill (default: 512,2048)
  --sequences <n>        to decode at once, besides one alone (default: 16; with cuda 64)
  --mamba-ssm-cache-dtype <name>
                         ${STATE_DTYPES.join(', ')}: SSM states of mamba2 (default: float32)
  --matmul-precision <name>
                         ${MATMUL_PRECISIONS.join(', ')}: of mamba2 with cuda (default: high)
  --quick                one round of little work, to see that everything runs
  --json                 the figures as one JSON object
  --clean                remove the models' files and end`;

/** Reads a command line. @throws an error that names the option, what it holds and what was expected */
export function readCompareOptions(args: readonly string[], cores = availableParallelism()): CompareOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: 'string', default: 'llama.cpp' },
      device: { type: 'string', default: 'cpu' },
      shapes: { type: 'string', default: 'mamba2-130m' },
      dtypes: { type: 'string' },
      cpu: { type: 'string', default: 'native' },
      threads: { type: 'string' },
      rounds: { type: 'string' },
      repetitions: { type: 'string' },
      'prompt-tokens': { type: 'string' },
      sequences: { type: 'string' },
      'mamba-ssm-cache-dtype': { type: 'string', default: 'float32' },
      'matmul-precision': { type: 'string', default: 'high' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      clean: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false, short: 'h' },
    },
  });
  const { quick, json, clean, help } = values;
  const device = oneOf(DEVICES, values.device, '--device');
  const kind = oneOf(PROCESSORS, values.cpu, '--cpu');
  if (device === 'cuda' && kind !== 'native') {
    throw new Error(`--cpu is '${kind}', but with '--device cuda' both sides run on the GPU. Leave --cpu out.`);
  }
  const defaults = DEFAULTS[device];
  const shapes = Object.keys(MODEL_SHAPES) as ModelShape[];
  return {
    action: help ? 'help' : clean ? 'clean' : 'compare',
    peer: oneOf(PEERS, values.peer, '--peer'),
    device,
    kind,
    shapes: values.shapes.split(',').map((shape) => oneOf(shapes, shape, '--shapes')),
    dtypes: values.dtypes?.split(',').map((dtype) => oneOf<DType>([...DTYPES, ...QUANTIZATIONS], dtype, '--dtypes')),
    workload: {
      threads: whole(values.threads ?? `${Math.min(cores, defaults.threads)}`, '--threads'),
      promptTokens: (values['prompt-tokens'] ?? (quick ? '64' : '512,2048'))
        .split(',')
        .map((length) => whole(length, '--prompt-tokens')),
      generateTokens: quick ? 8 : defaults.generateTokens,
      sequences: whole(values.sequences ?? `${quick ? 4 : defaults.sequences}`, '--sequences'),
      repetitions: whole(values.repetitions ?? `${quick ? 1 : defaults.repetitions}`, '--repetitions'),
      states: oneOf(STATE_DTYPES, values['mamba-ssm-cache-dtype'], '--mamba-ssm-cache-dtype'),
      matmulPrecision: oneOf(MATMUL_PRECISIONS, values['matmul-precision'], '--matmul-precision'),
    },
    rounds: whole(values.rounds ?? (quick ? '1' : '5'), '--rounds'),
    json,
  };
}

function oneOf<T extends string>(known: readonly T[], name: string, option: string): T {
  const found = known.find((each) => each === name);
  if (found !== undefined) return found;
  throw new Error(`${option} holds '${name}'; expected one of: ${known.join(', ')}.`);
}

function whole(text: string, option: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new Error(`${option} is '${text}'; expected an integer at least 1.`);
}
