import { HYBRIDS } from '../engine/hybrid-folders.ts';
import { few } from '../runs.ts';
import { describeGolden, VARIANTS } from './golden-suite.ts';

const RANKS = few([4, 1, 2]);

for (const name of HYBRIDS) {
  describeGolden(name, 'reference', RANKS);
  describeGolden(name, 'cpu', [4]);
}
for (const name of VARIANTS) {
  for (const device of ['reference', 'cpu'] as const) describeGolden(name, device, RANKS);
}
