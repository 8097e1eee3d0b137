// Requests to the server, with the viewer's log-in if there is one; errors come in the server's own words.

export function connect(server, userAuthenticationService) {
  const ask = async (path, query = {}, options = {}) => {
    const url = new URL(path, server);
    Object.entries(query).forEach(([key, value]) => url.searchParams.set(key, value));
    const headers = userAuthenticationService?.getAuthorizationHeader?.() ?? {};
    const answer = await fetch(url, { ...options, headers });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.detail || `the server answered ${answer.status} ${answer.statusText}`);
    }
    return answer;
  };
  return {
    models: async () => (await ask('segtrust/models')).json(),
    findings: async (model, image) => (await ask(`segtrust/findings/${encodeURIComponent(model)}`, { image })).json(),
    map: async (model, image, map) => (await ask(`segtrust/maps/${encodeURIComponent(model)}`, { image, map })).arrayBuffer(),
    saveLabel: async (image, file, segments) => {
      const body = new FormData();
      body.append('params', JSON.stringify({ label_info: segments }));
      body.append('label', file, 'label.nrrd');
      return (await ask('datastore/label', { image, tag: 'final' }, { method: 'PUT', body })).json();
    },
  };
}
