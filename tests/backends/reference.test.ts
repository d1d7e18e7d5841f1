import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { describeBackend } from './suite/backend-suite.ts';

// The reference works in float64 and rounds its results to float32 once (a linear layer with a bias twice). A state is
// rounded at every token, so its error grows with the tokens that it remembers.
const ROUNDING = 2 ** -23;

describeBackend(() => new ReferenceBackend(), {
  tolerances: {
    convolution: { relative: ROUNDING, absolute: 1e-8 },
    stateSpace: { relative: 1e-5, absolute: 1e-5 },
    dense: { relative: ROUNDING, absolute: ROUNDING },
    norm: { relative: ROUNDING, absolute: 1e-8 },
    quantized: { relative: ROUNDING, absolute: ROUNDING },
  },
  bitExact: true,
});
