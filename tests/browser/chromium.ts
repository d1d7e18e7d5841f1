import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const PATHS = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** WebGPU on the software driver that Chromium brings, as it has no other without a GPU. */
const WEBGPU_ARGUMENTS = ['--enable-unsafe-webgpu', '--enable-features=Vulkan', '--use-webgpu-adapter=swiftshader'];

/** A machine with other work takes its time. */
const START_MILLISECONDS = 120_000;

/** Where the browser of this machine should be; CHROMIUM_PATH says where it is if it is elsewhere. */
export function findChromium(): string | undefined {
  return process.env.CHROMIUM_PATH || PATHS.find((path) => existsSync(path));
}

/** Starts it without a window, on a profile that is removed when it is closed. */
export function startChromium(executablePath: string, { webgpu = false } = {}): Promise<Browser> {
  const args = [...ARGUMENTS, ...(webgpu ? WEBGPU_ARGUMENTS : ['--disable-gpu'])];
  return chromium.launch({ executablePath, args, headless: true, timeout: START_MILLISECONDS });
}
