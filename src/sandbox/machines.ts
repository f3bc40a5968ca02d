import fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify';
import { type ModelServerOrder, readModelServerOrder } from './cloud-config.ts';
import type { InstanceTruth, LambdaCloud } from './lambda/index.ts';
import { renderMetrics } from './metrics.ts';
import { createProvider, type Provider } from './provider.ts';

export interface MachinesOptions {
  lambda: LambdaCloud;
  firstTokenMs: number;
  millisecondsPerPiece: number;
  bodyLimit: number;
}

/** The programs on the rented machines, as far as they can be reached. */
export interface Machines {
  /** To be mounted with the prefix `/machines`. */
  plugin: FastifyPluginAsync;
  /** The model server of a machine, up or not. Throws where its cloud-config starts none. */
  server(instanceId: string): Provider;
  /** Every machine whose cloud-config starts a model server. */
  list(): MachineState[];
  /** By id or name. Undefined where no such machine has a model server. */
  find(machine: string): Provider | undefined;
  resetOverrides(): void;
}

interface MachineState {
  id: string;
  name: string | null;
  model: string;
  answering: boolean;
  behaviour: string | null;
}

interface ModelServer {
  provider: Provider;
  order: ModelServerOrder;
  app: FastifyInstance;
  /** Of the run that the counters belong to. */
  restartedAtMs: number | null;
}

export function createMachines({ lambda, bodyLimit, ...pace }: MachinesOptions): Machines {
  const servers = new Map<string, ModelServer | null>();
  const truthOf = (id: string) => lambda.instances().find((machine) => machine.id === id);

  /** Null: the machine runs none. Made when first asked for, as nobody can tell the difference. */
  const serverOf = (machine: InstanceTruth): ModelServer | null => {
    const known = servers.get(machine.id);
    if (known !== undefined) return known;
    const order = readModelServerOrder(machine.userData);
    const isUp = () => truthOf(machine.id)?.isAnswering === true;
    const made = order && createModelServer(order, { ...pace, isUp, bodyLimit });
    servers.set(machine.id, made);
    return made;
  };

  const plugin: FastifyPluginAsync = async (app) => {
    // Before the body is read: the machine's own server reads it.
    app.addHook('onRequest', async (request, reply) => {
      reply.hijack();
      const [, id = '', path = '/'] = /^\/([^/?]*)(.*)$/.exec(request.url.slice(app.prefix.length)) ?? [];
      const machine = truthOf(id);
      const server = machine?.isAnswering ? serverOf(machine) : null;
      if (!machine || !server) {
        request.raw.socket.destroy();
        return;
      }
      if (server.restartedAtMs !== machine.restartedAtMs) startCountingAnew(server, machine);
      await server.app.ready();
      request.raw.url = path.startsWith('/') ? path : `/${path}`;
      server.app.routing(request.raw, reply.raw);
    });
    app.all('/*', () => undefined);
    app.addHook('onClose', async () => {
      await Promise.all([...servers.values()].map((server) => server?.app.close()));
    });
  };

  const serving = () =>
    lambda.instances().flatMap((machine) => {
      const server = serverOf(machine);
      return server ? [{ machine, server }] : [];
    });

  return {
    plugin,
    server(instanceId) {
      const machine = truthOf(instanceId);
      const server = machine && serverOf(machine);
      if (!server) throw new Error(`The cloud-config of machine ${instanceId} starts no model server.`);
      return server.provider;
    },
    list: () =>
      serving().map(({ machine, server }) => ({
        id: machine.id,
        name: machine.name,
        model: server.order.servedName,
        answering: machine.isAnswering,
        behaviour: server.provider.override,
      })),
    find: (wanted) =>
      serving().findLast(({ machine }) => machine.id === wanted || machine.name === wanted)?.server.provider,
    resetOverrides() {
      for (const { server } of serving()) server.provider.override = null;
    },
  };
}

/** A restarted container counts from zero. */
function startCountingAnew(server: ModelServer, { restartedAtMs }: InstanceTruth): void {
  server.restartedAtMs = restartedAtMs;
  Object.assign(server.provider.load, { promptTokens: 0, generationTokens: 0 });
}

function createModelServer(
  order: ModelServerOrder,
  options: { firstTokenMs: number; millisecondsPerPiece: number; bodyLimit: number; isUp: () => boolean },
): ModelServer {
  const { bodyLimit, ...rest } = options;
  const provider = createProvider({
    ...rest,
    apiKey: order.apiKey,
    models: [{ id: order.servedName, contextWindowTokens: order.contextWindowTokens }],
    onlyListed: true,
  });
  // Never listens: the sandbox's own server passes requests on.
  const app = fastify({ bodyLimit });
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('x-tandem-sandbox', 'true');
  });
  app.get('/health', (_request, reply) => reply.code(200).send());
  if (order.hasMetrics) {
    app.get('/metrics', (_request, reply) =>
      reply.type('text/plain; version=0.0.4; charset=utf-8').send(renderMetrics(order, provider.load)),
    );
  }
  app.register(provider.plugin, { prefix: '/v1' });
  return { provider, order, app, restartedAtMs: null };
}
