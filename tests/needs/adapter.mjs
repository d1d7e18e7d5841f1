// Asks Dawn, with the options that it is given, for an adapter and a device, and says what it got.
try {
  const { create } = await import('webgpu');
  const adapter = await create(process.argv.slice(2)).requestAdapter();
  if (!adapter) throw new Error('Dawn finds no adapter');
  await adapter.requestDevice();
  console.log(`${adapter.info.description || adapter.info.vendor || 'an adapter'}`);
  // Dawn would keep the process.
  process.exit(0);
} catch (error) {
  console.error(error.message.split('\n')[0]);
  process.exit(1);
}
