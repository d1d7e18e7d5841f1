import { describeCpu } from './cpu-suite.ts';

describeCpu('simd');
