import { HYBRIDS } from '../engine/hybrid-folders.ts';
import { few } from '../runs.ts';
import { describeGolden } from './golden-suite.ts';

// On two ranks, one of them: starting threads takes longer than the rest.
for (const [i, name] of HYBRIDS.entries()) describeGolden(name, 'cpu', i === 0 ? [1, 2] : few([1, 2]));
