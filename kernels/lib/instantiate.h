// The only macro of the sources: gives an instantiation of a kernel template its host name.
#pragma once

#define MSLT_INSTANTIATE(name, function, ...) \
  template [[host_name(#name)]] kernel decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;
