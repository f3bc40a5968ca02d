// The yardstick: what node:http and undici cost when nothing is done but to forward, in the fastest honest way.
// undici's `dispatch` hands on each part as it arrives; `request` with streams is about a tenth slower.
import { createServer } from 'node:http';
import { Pool } from 'undici';
import { announce } from './children.mjs';

const upstream = new Pool(process.env.UPSTREAM, { connections: 256 });

const server = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => forward(request, parts.length === 1 ? parts[0] : Buffer.concat(parts), response));
});
server.listen(0, '127.0.0.1', announce);

function forward({ method, url: path, headers }, body, response) {
  let upstreamCall;
  response.on('close', () => {
    if (!response.writableFinished) upstreamCall?.abort(new Error('the client left'));
  });
  upstream.dispatch(
    { method, path, headers: { 'content-type': headers['content-type'] }, body: body.length > 0 ? body : null },
    {
      onRequestStart(controller) {
        upstreamCall = controller;
      },
      onResponseStart(_controller, status, answerHeaders) {
        response.writeHead(status, answerHeaders);
      },
      onResponseData(controller, part) {
        if (response.write(part)) return;
        controller.pause();
        response.once('drain', () => controller.resume());
      },
      onResponseEnd() {
        response.end();
      },
      onResponseError() {
        if (response.headersSent) response.destroy();
        else response.writeHead(502).end();
      },
    },
  );
}
