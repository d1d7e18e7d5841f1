// silu(z) = z / (1 + exp(-z)) and softplus(x) = log(1 + exp(x)).
fn silu(z: f32) -> f32 {
  return z / (1.0 + exp(-z));
}

// log(1 + u) for u in [0, 1], without cancellation for small u: 2 atanh(u / (2 + u)) as a series.
fn log1pUnit(u: f32) -> f32 {
  let s = u / (2.0 + u);
  let q = s * s;
  return 2.0 * s * (1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q / 13))))));
}

fn softplus(x: f32) -> f32 {
  return max(x, 0.0) + log1pUnit(exp(-abs(x)));
}
