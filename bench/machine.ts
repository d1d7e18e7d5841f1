import { firstGpu, type Gpu } from './gpu.ts';
import { describeProcessor, type ProcessorKind, requireProcessor, thisProcessor } from './processor.ts';

/** Devices that both sides can be run on. */
export const DEVICES = ['cpu', 'cuda'] as const;
export type Device = (typeof DEVICES)[number];

/** What both sides run on. */
export type Machine =
  | { readonly device: 'cpu'; readonly kind: ProcessorKind }
  | { readonly device: 'cuda'; readonly gpu: Gpu };

/** @throws where this machine has no such device. */
export async function machineWith(device: Device, kind: ProcessorKind): Promise<Machine> {
  if (device === 'cuda') return { device, gpu: await firstGpu() };
  requireProcessor(kind);
  return { device, kind };
}

/** A machine in a heading. */
export function describeMachine(machine: Machine): string {
  const processor = describeProcessor(thisProcessor(machine.device === 'cpu' ? machine.kind : 'native'));
  if (machine.device === 'cpu') return processor;
  const { model, driver } = machine.gpu;
  return `${model}, driver ${driver}, on ${processor}`;
}
