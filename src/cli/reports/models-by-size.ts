import { formatTable } from '../terminal/table.ts';

/** Gigabytes and tokens per second with int4 weights: README.md says how they were measured or computed. */
const MODELS = [
  ['tiiuae/Falcon-H1-Tiny-90M-Instruct', '91 M', '0.2 GB', '230'],
  ['AntonV/mamba2-130m-hf (no template)', '129 M', '0.1 GB', '264'],
  ['ibm-granite/granite-4.0-h-350m', '340 M', '0.2 GB', '84'],
  ['tiiuae/Falcon-H1-0.5B-Instruct', '521 M', '0.5 GB', '59'],
  ['ibm-granite/granite-4.0-h-1b', '1.5 B', '0.9 GB', '24'],
  ['ibm-granite/granite-4.0-h-micro', '3.2 B', '1.9 GB', '10'],
  ['ibm-granite/granite-4.0-h-tiny (experts)', '6.9 B', '3.9 GB', '21'],
  ['mistralai/Mamba-Codestral-7B-v0.1 (no template)', '7.3 B', '4.3 GB', '4.5'],
];

/** Models to begin with, by size: for help. */
export function modelsBySize(): string {
  return formatTable([['hub id', 'size', 'memory', 'tokens/s'], ...MODELS]);
}
