import { Mamba2Error } from '../errors.ts';
import { COMMANDS } from './commands.ts';
import { isMachineFault } from './machine-fault.ts';
import { inFlags } from './options/flag-names.ts';
import { UsageError } from './options/usage-error.ts';
import { runProgram } from './program.ts';
import { INTERRUPTED, InterruptedError } from './terminal/interrupt.ts';
import { endWithReader } from './terminal/standard-output.ts';
import { styled } from './terminal/styled.ts';

/** Exit code when a command fails. */
const FAILURE = 1;
/** Exit code when the command line is wrong. */
const USAGE = 2;
/** 70: a fault of this program; EX_SOFTWARE of sysexits.h. */
const SOFTWARE = 70;

/** Runs a command line, without the program's name. → exit code */
export async function run(argv: readonly string[]): Promise<number> {
  endWithReader();
  try {
    return await runProgram(COMMANDS, argv);
  } catch (error) {
    return report(error, argv);
  }
}

async function report(error: unknown, argv: readonly string[]): Promise<number> {
  if (error instanceof InterruptedError) return INTERRUPTED;
  const isUsage = error instanceof UsageError;
  const isExpected = isUsage || error instanceof Mamba2Error || isMachineFault(error);
  const wantsStack = beforeDashes(argv).includes('--verbose') || process.env.DEBUG === 'mamba2';
  const command = await COMMANDS.find(({ name }) => name === argv[0])
    ?.load()
    .catch(() => undefined);
  const said = error instanceof Error ? error.message : String(error);
  const message = inFlags(said, command?.options ?? {});
  process.stderr.write(`${styled('red', 'error:', process.stderr)} ${message}\n`);
  if ((wantsStack || !isExpected) && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (isUsage) return USAGE;
  return isExpected ? FAILURE : SOFTWARE;
}

/** Arguments before '--'; those after it are text, even if they look like options. */
function beforeDashes(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end === -1 ? argv : argv.slice(0, end);
}
