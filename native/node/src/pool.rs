//! Closures on Node's thread pool, and JSON as their result.

use cairn_core::{Error, Result};
use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Task, ValueType, sys};
use serde_json::Value;

use crate::errors::{caught, failure};

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
    work: Option<Box<dyn FnOnce() -> napi::Result<T> + Send>>,
}

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Pooled<T> {
    type Output = T;
    type JsValue = T;

    fn compute(&mut self) -> napi::Result<T> {
        caught(|| match self.work.take() {
            Some(work) => work(),
            None => Err(failure(&Error::Worker)),
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
    pooled_as_is(move || work().map_err(|error| failure(&error)))
}

/// As [`pooled`], for work whose errors are JavaScript's already.
pub(crate) fn pooled_as_is<T: ToNapiValue + TypeName + Send + 'static>(
    work: impl FnOnce() -> napi::Result<T> + Send + 'static,
) -> AsyncTask<Pooled<T>> {
    AsyncTask::new(Pooled { work: Some(Box::new(work)) })
}
