# snet, built from its sources by nixpkgs' Rust.
{ lib, rustPlatform }:

rustPlatform.buildRustPackage {
  pname = "snet";
  version = (lib.importTOML ../../../Cargo.toml).package.version;
  src = lib.cleanSource ../../..;
  cargoLock.lockFile = ../../../Cargo.lock;
  cargoBuildFlags = [ "--package" "snet" ];
  # They need namespaces and other programs.
  doCheck = false;

  postInstall = ''
    sh scripts/packages/stage.sh nix "$out/bin/snet" staged
    rm staged/usr/bin/snet
    cp -r staged/usr/. "$out/"
    mkdir -p "$out/lib/systemd/system"
    sed "s|^\(Exec[A-Za-z]*=-\{0,1\}\)snet |\1$out/bin/snet |" scripts/systemd/snet.service \
      >"$out/lib/systemd/system/snet.service"
  '';

  meta = {
    description = "Transparent proxy for Linux";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "snet";
  };
}
