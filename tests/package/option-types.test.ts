import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  type ChosenDevice,
  DEVICES,
  type Device,
  type DTypeChoice,
  type GenerateOptions,
  type GenerationChunk,
  LLM,
  type LoadOptions,
  WEIGHT_DTYPES,
  type WeightDType,
} from '../../src/index.ts';
import { type AppOptions, createApp } from '../../src/server/index.ts';

// `tsc` checks the types, as `npm run check` runs it: an option that becomes a plain string loses its completion.
describe('options of a load', () => {
  test('devices and dtypes are the known ones', () => {
    expectTypeOf<NonNullable<LoadOptions['device']>>().toEqualTypeOf<Device>();
    expectTypeOf<Device>().toEqualTypeOf<'auto' | 'cpu' | 'webgpu' | 'cuda' | 'reference'>();
    expectTypeOf<ChosenDevice>().toEqualTypeOf<'cpu' | 'webgpu' | 'cuda' | 'reference'>();
    expectTypeOf<NonNullable<LoadOptions['dtype']>>().toEqualTypeOf<DTypeChoice>();
    expectTypeOf<WeightDType>().toEqualTypeOf<'float32' | 'bfloat16' | 'float16' | 'int8' | 'int4'>();
    expectTypeOf<WeightDType>().toExtend<DTypeChoice>();
    expectTypeOf<'auto'>().toExtend<DTypeChoice>();
    expectTypeOf<'int3'>().not.toExtend<DTypeChoice>();
    expectTypeOf<string>().not.toExtend<DTypeChoice>();
    expectTypeOf<string>().not.toExtend<Device>();
    expect(new Set<string>(DEVICES)).toEqual(new Set(['auto', 'cpu', 'webgpu', 'cuda', 'reference']));
    expect(new Set<string>(WEIGHT_DTYPES)).toEqual(new Set(['float32', 'bfloat16', 'float16', 'int8', 'int4']));
  });

  test('all may be left out, and undefined is as good as absent', () => {
    expectTypeOf<Record<never, never>>().toExtend<LoadOptions>();
    expectTypeOf(LLM.load).parameter(1).toEqualTypeOf<LoadOptions | undefined>();
    expectTypeOf<{ dtype: undefined; device: undefined }>().toExtend<LoadOptions>();
    expectTypeOf<NonNullable<LoadOptions['tensorParallelSize']>>().toEqualTypeOf<number | 'auto'>();
  });
});

describe('options of a generation', () => {
  test('have types of their own', () => {
    expectTypeOf<NonNullable<GenerateOptions['stop']>>().toEqualTypeOf<string | readonly string[]>();
    expectTypeOf<NonNullable<GenerateOptions['seed']>>().toEqualTypeOf<number | bigint>();
    expectTypeOf<NonNullable<GenerateOptions['signal']>>().toEqualTypeOf<AbortSignal>();
    expectTypeOf<NonNullable<GenerateOptions['maxTokens']>>().toEqualTypeOf<number>();
  });

  test('chunks say why an answer ended', () => {
    expectTypeOf<GenerationChunk['text']>().toEqualTypeOf<string>();
    expectTypeOf<GenerationChunk['finishReason']>().not.toEqualTypeOf<string | null>();
  });
});

test('a server needs a model, and nothing else', () => {
  expectTypeOf<Pick<AppOptions, 'llm'>>().toExtend<AppOptions>();
  expectTypeOf(createApp).parameter(0).toEqualTypeOf<AppOptions>();
});
