import { UnsupportedDTypeError } from '../errors.ts';

/**
 * Dtypes in which weights are stored. State and every accumulation are float32 whatever the weight dtype.
 * `int8` and `int4` are blocks of values along the input dimension with one float32 scale each.
 */
export const WEIGHT_DTYPES = ['float32', 'bfloat16', 'float16', 'int8', 'int4'] as const;
export type WeightDType = (typeof WEIGHT_DTYPES)[number];

const ALIASES = {
  fp32: 'float32',
  f32: 'float32',
  fp16: 'float16',
  f16: 'float16',
  half: 'float16',
  bf16: 'bfloat16',
  q8: 'int8',
  q4: 'int4',
} as const satisfies Readonly<Record<string, WeightDType>>;

/**
 * Dtype to load weights as: its name, a short name, `stored` for that of the files, or `auto` for the one that suits model,
 * device and machine.
 */
export type DTypeChoice = 'auto' | 'stored' | WeightDType | keyof typeof ALIASES;

/** Reads a dtype by its Hugging Face name or one of the short names that other runtimes use. */
export function parseWeightDType(name: string): WeightDType {
  const aliases: ReadonlyMap<string, WeightDType> = new Map(Object.entries(ALIASES));
  const dtype = WEIGHT_DTYPES.find((known) => known === name) ?? aliases.get(name);
  if (dtype === undefined) {
    throw new UnsupportedDTypeError(`Unknown dtype '${name}'.`, `Use one of: ${DTYPE_SETTINGS.join(', ')}.`);
  }
  return dtype;
}

/** Choices without their short names. */
export const DTYPE_SETTINGS = ['auto', 'stored', ...WEIGHT_DTYPES] as const;
export type DTypeSetting = (typeof DTYPE_SETTINGS)[number];

/** A setting in which `auto` has been decided. */
export type StorageSetting = Exclude<DTypeSetting, 'auto'>;

/** The dtype that was asked for. @throws UnsupportedDTypeError */
export function parseDTypeChoice(name: string): DTypeSetting {
  return name === 'auto' || name === 'stored' ? name : parseWeightDType(name);
}
