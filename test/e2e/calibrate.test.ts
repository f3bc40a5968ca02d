import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folder.ts';
import { run, ServerProcess, sandboxAndEnvironment } from '../support/process.ts';

describe('tandem calibrate', () => {
  it('counts what was rated while the server runs, and refuses to learn from that little', async () => {
    const { environment } = await sandboxAndEnvironment();
    const server = new ServerProcess([], environment);
    await server.initialize();
    const answer = await server.call('complete', { prompt: 'Hello' });
    const { request_id } = answer.structuredContent;
    expect((await server.call('rate_response', { request_id, rating: 'up' })).isError).toBeUndefined();
    const { exitCode, stdout, stderr } = await run(['calibrate', '--apply'], environment);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(/^tandem: There is too little to learn from: .* Nothing was changed\. Rate answers/);
  });

  it('goes back to what was shipped', async () => {
    const environment = { TANDEM_HOME: temporaryFolder() };
    expect(await run(['calibrate', '--use', '0'], environment)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('Version 1 is in use; it is the routing as shipped.'),
    });
    expect((await run(['calibrate', '--use', '7', '--json'], environment)).stderr).toBe(
      'tandem: There is no calibration 7. Nothing was changed. Valid: 0 (as shipped), 1.\n',
    );
  });

  it.each([
    [['--use', 'latest'], 'Give the number of a version; 0 is as shipped.'],
    [['--days', '0'], 'Give a number from 1 to 999999.'],
    [['--use', '1', '--apply'], 'cannot be used with option'],
  ])('refuses %j and says what is valid', async (args, advice) => {
    const { exitCode, stderr } = await run(['calibrate', ...args]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(advice);
  });
});
