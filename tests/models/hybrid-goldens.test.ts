import { HYBRIDS } from '../engine/hybrid-folders.ts';
import { describeGolden } from './golden-suite.ts';

for (const name of HYBRIDS) describeGolden(name, 'cpu', [1, 2]);
