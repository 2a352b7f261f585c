# SPDX-License-Identifier: Apache-2.0
"""Compares linux_aio with fio and with other Python libraries: ./dev bench."""
