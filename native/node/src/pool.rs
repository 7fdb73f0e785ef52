//! Closures on Node's thread pool, and JSON as their result.

use cairn_core::{Error, Result};
use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Task, ValueType, sys};
use serde_json::Value;

use crate::errors::guarded;

/// A plain JavaScript value.
pub struct Json(pub(crate) Value);

impl TypeName for Json {
    fn type_name() -> &'static str {
        "object"
    }

    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl ToNapiValue for Json {
    unsafe fn to_napi_value(env: sys::napi_env, json: Self) -> napi::Result<sys::napi_value> {
        // SAFETY: the caller's promise about `env` is handed on as it is.
        unsafe { Value::to_napi_value(env, json.0) }
    }
}

/// A closure that runs once on the pool.
pub struct Pooled<T> {
    work: Option<Box<dyn FnOnce() -> Result<T> + Send>>,
}

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Pooled<T> {
    type Output = T;
    type JsValue = T;

    fn compute(&mut self) -> napi::Result<T> {
        guarded(|| match self.work.take() {
            Some(work) => work(),
            None => Err(Error::Worker),
        })
    }

    fn resolve(&mut self, _: Env, output: T) -> napi::Result<T> {
        Ok(output)
    }
}

/// A promise for what `work` returns.
pub(crate) fn pooled<T: ToNapiValue + TypeName + Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> AsyncTask<Pooled<T>> {
    AsyncTask::new(Pooled { work: Some(Box::new(work)) })
}
