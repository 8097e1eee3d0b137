// Configuration of the OHIF viewer inside MONAI Label, read by the viewer when it starts.
// The mode `MONAI Label` is the viewer's own, wrapped: parametric maps can be opened in it, and it has our panel.
'use strict';
(() => {
  const SERVER = `${window.location.origin}/`;
  const PMAP = '@ohif/extension-cornerstone-dicom-pmap';
  const MODE = '@ohif/mode-monai-label'; // comes first in the list, so that the viewer drops its own mode of this name
  const PANEL = '@segtrust/extension-uncertainty';

  // MONAI Label's panel reads its address from this cookie and would else try port 8000
  document.cookie = `MONAILABEL_SERVER_URL=${escape(SERVER)}; path=/ohif; SameSite=Strict`;

  // an element as React reads it: the panel fills it with plain DOM
  const element = mount => ({
    $$typeof: Symbol.for('react.element'),
    type: 'div',
    key: null,
    ref: mount,
    props: { className: 'segtrust-mount' },
    _owner: null,
    _store: {},
  });

  const panelExtension = {
    id: PANEL,
    getPanelModule: ({ servicesManager }) => {
      let unmount = () => {};
      const mount = async node => {
        unmount();
        if (!node) return;
        const { mountPanel } = await import('./segtrust/panel.js');
        unmount = mountPanel(node, { services: servicesManager.services, server: SERVER });
      };
      return [
        {
          name: 'uncertainty',
          iconName: 'StatusWarning',
          iconLabel: 'Uncertainty',
          label: 'Uncertainty',
          secondaryLabel: 'Uncertainty',
          component: () => element(mount),
        },
      ];
    },
  };

  const wrappedMode = async ({ loadModules, modeConfiguration }) => {
    const [stock] = await loadModules([MODE]);
    const mode = stock.modeFactory({ modeConfiguration });
    const [route, ...others] = mode.routes;
    const layoutTemplate = context => {
      const layout = route.layoutTemplate(context);
      const viewports = [
        ...layout.props.viewports,
        {
          namespace: `${PMAP}.viewportModule.dicom-pmap`,
          displaySetsToDisplay: [`${PMAP}.sopClassHandlerModule.dicom-pmap`],
        },
      ];
      const rightPanels = [...layout.props.rightPanels, `${PANEL}.panelModule.uncertainty`];
      return { ...layout, props: { ...layout.props, rightPanels, viewports } };
    };
    return {
      ...mode,
      extensions: { ...mode.extensions, [PMAP]: '^3.0.0' },
      sopClassHandlers: [...mode.sopClassHandlers, `${PMAP}.sopClassHandlerModule.dicom-pmap`],
      routes: [{ ...route, layoutTemplate }, ...others],
    };
  };

  window.config = {
    routerBasename: '/ohif/',
    showStudyList: true,
    extensions: [panelExtension],
    modes: [{ id: MODE, modeFactory: wrappedMode }],
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    useSharedArrayBuffer: 'FALSE',
    defaultDataSourceName: 'dicomweb',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'dicomweb',
        configuration: {
          friendlyName: 'DICOMweb server of MONAI Label',
          name: 'dicomweb',
          wadoUriRoot: '/proxy/dicom/wado',
          qidoRoot: '/proxy/dicom/qido',
          wadoRoot: '/proxy/dicom/wado',
          qidoSupportsIncludeField: true,
          supportsReject: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: false,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          dicomUploadEnabled: true,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
