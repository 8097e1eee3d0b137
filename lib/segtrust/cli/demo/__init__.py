"""`segtrust demo`: the main job from end to end, on a real server and real scans.

- ``command``: what the subcommand does, in order
- ``cohort``, ``template_scans``: the scans, one's own or those at hand
- ``label_server``, ``label_client``: a MONAI Label server as a process, and talking to it over HTTP
- ``scan_card``: what the page shows of one scan; ``console``: what the terminal shows
"""
