import { describe, expect, test } from 'vitest';
import { Outage } from '../../../src/engine/store/outage.ts';
import { TransferRates } from '../../../src/engine/store/transfer-rates.ts';

describe('TransferRates', () => {
  test('fetch what takes less time than computing it', () => {
    const rates = new TransferRates('measured', () => 0);
    // Until both are known, some tokens are worth a try.
    expect([rates.pays(63, 1e9), rates.pays(64, 1e9)]).toEqual([false, true]);
    rates.prefilled(1000, 1);
    rates.fetched(20e6, 0.1);
    expect(rates.pays(101, 20e6)).toBe(true);
    expect(rates.pays(99, 20e6)).toBe(false);
    expect(rates.pays(0, 0)).toBe(false);
    expect(new TransferRates('always').pays(1, 1e12)).toBe(true);
    expect(new TransferRates('always').pays(0, 1)).toBe(false);
  });

  test('follow what is measured, and forget what was long ago', () => {
    let now = 0;
    const rates = new TransferRates('measured', () => now);
    rates.prefilled(1000, 1);
    // Too few to tell anything.
    rates.prefilled(4, 100);
    rates.fetched(1e6, 10);
    expect(rates.pays(1000, 1e6)).toBe(false);
    for (let i = 0; i < 20; i++) rates.fetched(1e6, 0.01);
    expect(rates.pays(1000, 1e6)).toBe(true);
    for (let i = 0; i < 40; i++) rates.fetched(1e6, 10);
    expect(rates.pays(1000, 1e6)).toBe(false);
    now = 31_000;
    expect(rates.pays(1000, 1e6)).toBe(true);
    rates.fetched(1e6, 10);
    expect(rates.pays(1000, 1e6)).toBe(false);
  });

  test('let a request wait as long as computing takes, within bounds', () => {
    const rates = new TransferRates('measured');
    expect(rates.wait(10)).toBe(1000);
    rates.prefilled(1000, 1);
    expect([rates.wait(1), rates.wait(500), rates.wait(1e9)]).toEqual([100, 500, 10_000]);
    // What timers take is whole.
    rates.prefilled(700, 1.3);
    expect(Number.isInteger(rates.wait(777))).toBe(true);
  });
});

test('an outage lasts twice as long each time, until the store answers', () => {
  let now = 0;
  const outage = new Outage(() => now);
  const pauses: (number | undefined)[] = [];
  for (let i = 0; i < 9; i++) {
    expect(outage.isOver).toBe(true);
    const pause = outage.begin();
    pauses.push(pause);
    // Others fail meanwhile.
    expect([outage.isOver, outage.begin()]).toEqual([false, undefined]);
    now += pause ?? 0;
  }
  expect(pauses).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  outage.end();
  expect(outage.begin()).toBe(500);
});
