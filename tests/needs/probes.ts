import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { findChromium, startChromium } from '../browser/chromium.ts';

/** How to find out whether something is here that tests can do without, and how to get it. */
interface Probe {
  /** For people. */
  readonly name: string;
  readonly howToGet: string;
  /** Tries it in earnest. → what tests go on with. Rejects with what is missing. */
  find(): Promise<string>;
}

export type Need =
  | 'chromium'
  | 'chromium-webgpu'
  | 'dawn'
  | 'software-gpu'
  | 'jinja2'
  | 'script'
  | 'haproxy'
  | 'nginx'
  | 'redis'
  | 'g++'
  | 'openmpi'
  | 'mpich'
  | 'hosts';

export const PROBES: Readonly<Record<Need, Probe>> = {
  chromium: {
    name: 'Chromium',
    howToGet: 'install it (on Debian: apt-get install chromium), or set CHROMIUM_PATH',
    find: () => inChromium({ webgpu: false }, async () => {}),
  },
  'chromium-webgpu': {
    name: 'WebGPU in Chromium',
    howToGet: 'install a Chromium that brings SwiftShader (on Debian: apt-get install chromium)',
    find: () =>
      inChromium({ webgpu: true }, async (browser) => {
        const found = await onLoopback((url) => hasAdapter(browser, url));
        if (!found) throw new Error('Chromium finds no adapter');
      }),
  },
  dawn: {
    name: "the package 'webgpu' (Dawn)",
    howToGet: 'npm ci, on a platform that the package has a binary for',
    find: () => adapterInNode(['backend=null'], {}),
  },
  'software-gpu': {
    name: 'a GPU made of software',
    howToGet:
      'install a Vulkan loader and the driver that comes with Chromium (on Debian: apt-get install libvulkan1 chromium), or set VK_ICD_FILENAMES',
    find: async () => {
      const driver = findSoftwareDriver();
      await adapterInNode([], { VK_ICD_FILENAMES: driver });
      return driver;
    },
  },
  jinja2: {
    name: "Python's jinja2",
    howToGet: 'install it (on Debian: apt-get install python3-jinja2)',
    find: () => output('python3', ['-c', 'import jinja2; print(jinja2.__version__)']),
  },
  haproxy: {
    name: 'HAProxy',
    howToGet: 'install it (on Debian: apt-get install haproxy)',
    find: () => program('haproxy', ['-v']),
  },
  nginx: {
    name: 'nginx',
    howToGet: 'install it (on Debian: apt-get install nginx-light)',
    find: () => program('nginx', ['-v']),
  },
  redis: {
    name: 'Redis',
    howToGet: 'install it (on Debian: apt-get install redis-server)',
    find: () => program('redis-server', ['--version']),
  },
  'g++': {
    name: 'g++ on x86-64, which makes CUDA kernels run on the processor',
    howToGet: 'install it (on Debian: apt-get install g++)',
    find: async () => {
      if (process.arch !== 'x64' || process.platform !== 'linux') throw new Error('the emulator is for x86-64 Linux');
      return output('g++', ['-dumpfullversion']);
    },
  },
  openmpi: {
    name: 'Open MPI',
    howToGet: 'install it (on Debian: apt-get install openmpi-bin)',
    find: () => program('mpirun.openmpi', ['--version']),
  },
  mpich: {
    name: 'MPICH',
    howToGet: 'install it (on Debian: apt-get install mpich)',
    find: () => program('mpirun.mpich', ['--version']),
  },
  hosts: {
    name: 'hosts made of network namespaces',
    howToGet: 'run them as root on Linux, with iproute2 and util-linux (on Debian: apt-get install iproute2)',
    find: async () => {
      const script = fileURLToPath(new URL('../../scripts/hosts/hosts.sh', import.meta.url));
      try {
        await output(script, ['up', PROBE_HOSTS, '1']);
        await output(script, ['run', `${PROBE_HOSTS}-0`, 'true']);
      } finally {
        await output(script, ['down', PROBE_HOSTS, '1']).catch(() => {});
      }
      return script;
    },
  },
  script: {
    name: "util-linux's script, which gives a program a terminal",
    howToGet: 'install it (on Debian: apt-get install bsdutils)',
    find: async () => {
      const version = await output('script', ['--version']);
      if (!version.includes('util-linux')) throw new Error('it is another one');
      return version;
    },
  },
};

/** Name of the hosts that the probe makes: no longer than Linux lets the names of networks be. */
const PROBE_HOSTS = `mp${process.pid}`;

/** A machine with other work takes its time to start a browser. */
const START_MILLISECONDS = 120_000;

/** → the path of the browser that was started */
async function inChromium(
  options: { readonly webgpu: boolean },
  use: (browser: Browser) => Promise<void>,
): Promise<string> {
  const path = findChromium();
  if (path === undefined) throw new Error('none was found');
  const browser = await startChromium(path, options);
  try {
    await use(browser);
  } finally {
    await browser.close();
  }
  return path;
}

/** Pages have WebGPU only where they come from a secure place, such as this machine. */
async function onLoopback<T>(use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer((_, response) => response.end('<!doctype html>'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function hasAdapter(browser: Browser, url: string): Promise<boolean> {
  const page = await browser.newPage();
  await page.goto(url, { timeout: START_MILLISECONDS });
  return page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
}

/** SwiftShader, a Vulkan driver on the processor: browsers of Chromium's family have it beside them. */
function findSoftwareDriver(): string {
  if (process.env.VK_ICD_FILENAMES) return process.env.VK_ICD_FILENAMES;
  const browser = findChromium();
  const folders = ['/usr/lib/chromium', ...(browser === undefined ? [] : [dirname(realpathSync(browser))])];
  const driver = folders.map((folder) => join(folder, 'vk_swiftshader_icd.json')).find((file) => existsSync(file));
  if (driver === undefined) throw new Error('no driver was found (vk_swiftshader_icd.json)');
  return driver;
}

/** → where a program is, which may be a folder for administrators. */
async function program(name: string, args: readonly string[]): Promise<string> {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  const path = folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
  if (path === undefined) throw new Error(`${name} was not found`);
  await output(path, args);
  return path;
}

/** → what a program printed. Rejects with what it complained of last. */
async function output(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = { env: { ...process.env, ...env }, timeout: START_MILLISECONDS };
  const { stdout } = await promisify(execFile)(program, [...args], options).catch(
    (error: { readonly stderr?: string; readonly message: string }) => {
      throw new Error(error.stderr?.trim().split('\n').at(-1) || error.message);
    },
  );
  return stdout.trim();
}

/** In a process of its own: a driver that crashes should not take the tests along, nor one that is loaded stay. */
async function adapterInNode(options: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  return output(process.execPath, [fileURLToPath(new URL('adapter.mjs', import.meta.url)), ...options], env);
}
