type Variables = {
  STORE: { scheduled: (event: { cron: string; scheduledTime: Date }) => Promise<{ outcome: string }> };
};

/** Fires a cron of the store: GET /?cron=…&at=<milliseconds>; answers how it ended. */
const worker = {
  async fetch(request: Request, { STORE }: Variables): Promise<Response> {
    const { searchParams } = new URL(request.url);
    const scheduledTime = new Date(Number(searchParams.get('at')));
    const { outcome } = await STORE.scheduled({ cron: searchParams.get('cron') ?? '', scheduledTime });
    return new Response(outcome);
  },
};

export { worker as default };
