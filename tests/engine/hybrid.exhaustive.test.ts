import { HYBRIDS } from './hybrid-folders.ts';
import { describeGoldenHybrids, describeHybridUnderLoad } from './hybrid-suite.ts';

describeGoldenHybrids([
  ['reference', 1],
  ['cpu', 2],
  ['cpu', 4],
]);
describeHybridUnderLoad('bamba', 'float32', 1);
describeHybridUnderLoad('bamba', 'int4', 1);
describeHybridUnderLoad('bamba', 'bfloat16', 2);
for (const name of HYBRIDS.slice(1)) describeHybridUnderLoad(name, 'int8', 1);
