//! Lets the linker leave N-API symbols to the process that loads the addon.

fn main() {
    napi_build::setup();
}
