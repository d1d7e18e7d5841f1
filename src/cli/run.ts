import { closestNames } from '../checkpoint/closest-names.ts';
import { Mamba2Error } from '../errors.ts';
import { VERSION } from '../version.generated.ts';
import { bench } from './bench.ts';
import { chat } from './commands/chat.ts';
import { evaluate } from './commands/eval.ts';
import { generate } from './commands/generate.ts';
import { inspect } from './commands/inspect.ts';
import { list } from './commands/list.ts';
import { pull } from './commands/pull.ts';
import { remove } from './commands/rm.ts';
import { serve } from './commands/serve.ts';
import { commandHelp, programHelp } from './help.ts';
import { isMachineFault } from './machine-fault.ts';
import type { Command } from './options/command.ts';
import { inFlags } from './options/flag-names.ts';
import { UsageError } from './options/usage-error.ts';
import { INTERRUPTED, InterruptedError } from './terminal/interrupt.ts';
import { endWithReader, print } from './terminal/standard-output.ts';
import { styled } from './terminal/styled.ts';

const COMMANDS: readonly Command[] = [generate, chat, serve, inspect, pull, list, remove, evaluate, bench];

/** 1: what was asked for can't be done. */
const FAILURE = 1;
/** 2: the command line is wrong. */
const USAGE = 2;
/** 70: a fault of this program; EX_SOFTWARE of sysexits.h. */
const SOFTWARE = 70;

/** Runs a command line, without the program's name. → exit code */
export async function run(argv: readonly string[]): Promise<number> {
  endWithReader();
  try {
    return await dispatch(argv);
  } catch (error) {
    return report(error, argv);
  }
}

async function dispatch(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h') {
    await print(`${programHelp(COMMANDS)}\n`);
    return 0;
  }
  if (name === '--version' || name === '-v') {
    await print(`${VERSION}\n`);
    return 0;
  }
  const command = COMMANDS.find((known) => known.name === name);
  if (command === undefined) throw unknownCommand(name);
  if (beforeDashes(rest).some((argument) => argument === '--help' || argument === '-h')) {
    await print(`${commandHelp(command)}\n`);
    return 0;
  }
  return command.run(rest);
}

function report(error: unknown, argv: readonly string[]): number {
  if (error instanceof InterruptedError) return INTERRUPTED;
  const isUsage = error instanceof UsageError;
  const isExpected = isUsage || error instanceof Mamba2Error || isMachineFault(error);
  const wantsStack = beforeDashes(argv).includes('--verbose') || process.env.DEBUG === 'mamba2';
  const command = COMMANDS.find(({ name }) => name === argv[0]);
  const said = error instanceof Error ? error.message : String(error);
  const message = inFlags(said, command?.options ?? {});
  process.stderr.write(`${styled('red', 'error:', process.stderr)} ${message}\n`);
  if ((wantsStack || !isExpected) && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (isUsage) return USAGE;
  return isExpected ? FAILURE : SOFTWARE;
}

function unknownCommand(name: string): UsageError {
  const names = COMMANDS.map((command) => command.name);
  const kind = name.startsWith('-') ? 'option' : 'command';
  const hint = kind === 'option' ? 'A command comes first' : `Did you mean '${closestNames(name, names, 1)[0]}'`;
  return new UsageError(
    `Unknown ${kind} '${name}'.`,
    `${hint}${kind === 'option' ? ':' : '? Commands:'} ${names.join(', ')}.`,
  );
}

/** What follows '--' is text, whatever it looks like. */
function beforeDashes(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end === -1 ? argv : argv.slice(0, end);
}
