// Nonlinearities of feed-forward layers: $ACTIVATION as `activate`.

fn activate(v: f32) -> f32 {
#if ACTIVATION == silu
  return v / (1.0 + exp(-v));
#endif
#if ACTIVATION == gelu
  // v Φ(v), with erf by Abramowitz and Stegun, 7.1.26: to 1.5e-7.
  let a = abs(v) * 0.7071067811865476;
  let s = 1.0 / (1.0 + 0.3275911 * a);
  let rest = s * (0.254829592 + s * (-0.284496736 + s * (1.421413741 + s * (-1.453152027 + s * 1.061405429)))) * exp(-a * a);
  return 0.5 * v * (1.0 + sign(v) * (1.0 - rest));
#endif
#if ACTIVATION == gelu_tanh
  // (1 + tanh(u)) / 2 is the logistic function of 2u.
  return v / (1.0 + exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
#endif
#if ACTIVATION == relu
  return max(v, 0.0);
#endif
#if ACTIVATION == relu2
  return max(v, 0.0) * max(v, 0.0);
#endif
#if ACTIVATION == identity
  return v;
#endif
}
