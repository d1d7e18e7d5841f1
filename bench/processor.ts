import { readFileSync } from 'node:fs';
import { arch, cpus } from 'node:os';

/** Processors that both sides can be run as. `avx2`: one without AVX-512 and without dot products of bytes. */
export const PROCESSORS = ['native', 'avx2'] as const;
export type ProcessorKind = (typeof PROCESSORS)[number];

/** Instruction sets of x86 and ARM with which products are faster. */
const RELEVANT =
  /^(avx|avx2|fma|f16c|avx_vnni|avx_vnni_int8|avx512(f|bw|_vnni|_bf16|_fp16)|avx10\w*|amx_\w+|asimd|asimddp|asimdhp|i8mm|bf16|sve2?|sme)$/;

/** What a figure was measured on. */
export interface Processor {
  /** As the system names it. */
  readonly model: string;
  /** Instruction sets that matter to products, as Linux names them; empty where it is unknown. */
  readonly flags: readonly string[];
  /** Processor that both sides were made to take it for. */
  readonly emulated: Exclude<ProcessorKind, 'native'> | undefined;
}

/**
 * Options of Node under which V8 makes the code that it makes on such a processor. Of what AVX-512 and later have, V8 uses
 * dot products of bytes only.
 */
export const NODE_OPTIONS: Readonly<Record<ProcessorKind, readonly string[]>> = {
  native: [],
  avx2: ['--no-enable-avx-vnni', '--no-enable-avx-vnni-int8'],
};

/** The processor of this machine. */
export function thisProcessor(kind: ProcessorKind = 'native'): Processor {
  return {
    model: cpus()[0]?.model.trim() ?? `unknown ${arch()} processor`,
    flags: relevantFlags(readCpuInfo()),
    emulated: kind === 'native' ? undefined : kind,
  };
}

/** @throws where this processor can't be taken for such a one. */
export function requireProcessor(kind: ProcessorKind): void {
  const { model, flags } = thisProcessor();
  if (kind === 'native') return;
  if (arch() === 'x64' && flags.includes('avx2')) return;
  throw new Error(`--cpu is '${kind}', but '${model}' has no AVX2.`);
}

/** A processor in a heading: what it is, and what it was taken for. */
export function describeProcessor({ model, flags, emulated }: Processor): string {
  if (emulated === 'avx2') return `AVX2 only, emulated on ${model}`;
  return flags.length === 0 ? model : `${model} (${flags.join(' ')})`;
}

/** Relevant flags of the first processor in the text of /proc/cpuinfo. */
function relevantFlags(cpuInfo: string): string[] {
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuInfo)?.[1] ?? '';
  return flags.split(/\s+/).filter((flag) => RELEVANT.test(flag));
}

function readCpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return '';
  }
}
