// Loaded into a server with --import: on a message it collects garbage and tells what memory it holds.
import { Session } from 'node:inspector';

process.on('message', (message) => {
  if (message !== 'memory') return;
  const session = new Session();
  session.connect();
  // The inspector's collection also gives pages back, which global.gc() does not.
  session.post('HeapProfiler.collectGarbage', () => {
    const { rss, heapUsed } = process.memoryUsage();
    process.send({ rss, heapUsed });
    // Not in here: the callback would not return.
    setImmediate(() => session.disconnect());
  });
});
process.channel?.unref();
