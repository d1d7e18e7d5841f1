import { HYBRIDS } from '../engine/hybrid-folders.ts';
import { describeGolden, VARIANTS } from './golden-suite.ts';

for (const name of HYBRIDS) {
  describeGolden(name, 'reference', [1, 2, 4]);
  describeGolden(name, 'cpu', [4]);
}
for (const name of VARIANTS) {
  for (const device of ['reference', 'cpu'] as const) describeGolden(name, device, [1, 2, 4]);
}
