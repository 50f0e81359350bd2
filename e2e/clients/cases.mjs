/** Runs cases one after another and prints one line each: ok NAME, or not ok NAME: why. */
export async function runCases(cases) {
  let failed = 0;
  for (const [name, work] of Object.entries(cases)) {
    try {
      await work();
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      const where = /([^/(\s]+\.mjs:\d+)/.exec(String(error?.stack))?.[1] ?? '';
      console.log(`not ok ${name}: ${String(error?.message ?? error).replace(/\s+/g, ' ')} (${where})`);
    }
  }
  process.exit(failed === 0 ? 0 : 1);
}

export function assert(condition, what = 'an assertion failed') {
  if (!condition) throw new Error(typeof what === 'string' ? what : JSON.stringify(what));
}

export async function eventually(probe, what = 'it never came') {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function statusOf(work) {
  try {
    await work;
    return 200;
  } catch (error) {
    return error.statusCode ?? error.status ?? error.cause?.statusCode ?? String(error);
  }
}
