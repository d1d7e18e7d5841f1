import { spawn } from 'node:child_process';

/** Runs a program to its end. → what it wrote to standard output. @throws where it fails, with what it wrote elsewhere */
export function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] += text;
      });
    }
    child.on('error', (error) => reject(new Error(`Can't run '${command}': ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(output.stdout);
      const lastLines = `${output.stdout}\n${output.stderr}`.trim().split('\n').slice(-20).join('\n');
      reject(new Error(`'${[command, ...args].join(' ')}' ended with ${signal ?? code}:\n${lastLines}`));
    });
  });
}

/** Reports progress on standard error. */
export function say(message: string): void {
  process.stderr.write(`${message}\n`);
}
